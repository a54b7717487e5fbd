import { describe, expect, it } from 'vitest'
import { link, parse, to } from './route'

describe('routes', () => {
  it('brings every name back, however hostile', () => {
    for (const name of ['fraud', 'a/b', '100%', '?q=1#x', '<script>alert(1)</script>', 'ä ö', '%2F', '"\'', 'a..b', '+']) {
      const place = parse(to.model(name, 'runs', { q: name }))
      expect(place.path).toEqual(['models', name, 'runs'])
      expect(place.query.get('q')).toBe(name)
    }
  })
  it('takes what people type', () => {
    expect(parse('').path).toEqual([])
    expect(parse('#').path).toEqual([])
    expect(parse('#/runs/').path).toEqual(['runs'])
    expect(parse('#/models/%E0%A4%A').path).toEqual(['models', '%E0%A4%A'])
    expect(parse('#/?q=a?b').query.get('q')).toBe('a?b')
  })
  it('leaves what is empty out', () => {
    expect(link([], { q: '', state: undefined, n: 0 })).toBe('#/?n=0')
    expect(to.fleet()).toBe('#/')
  })
})
