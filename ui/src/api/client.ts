import type { components, paths } from './schema'
import { session } from './session.svelte'

type Schemas = components['schemas']
export type Decision = Schemas['Decision']
export type Explanation = Schemas['Explanation']
export type FleetRow = Schemas['FleetRow']
export type FleetCounts = Schemas['FleetCounts']
export type Guardrail = Schemas['Guardrail']
export type Model = Schemas['Model']
export type ModelMetric = Schemas['ModelMetric']
export type Policy = Schemas['Policy']
export type PolicyCheck = Schemas['PolicyCheck']
export type Problem = Schemas['Problem']
export type Promotion = Schemas['Promotion']
export type Run = Schemas['Run']
export type RunDetail = Schemas['RunDetail']
export type Series = Schemas['Series']
export type Settings = Schemas['Settings']
export type SparkPoint = Schemas['SparkPoint']
export type Status = Schemas['Status']
export type Term = Schemas['Term']
export type Version = Schemas['Version']

/** The API, wherever the page is served from. */
export const base = new URL('api/v1/', document.baseURI.replace(/#.*/s, '')).href

/** A request that was not answered as hoped for, in words. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly problem?: Problem,
  ) {
    super(message)
  }
}

type Method = 'get' | 'post'
type With<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never }[keyof paths]
type Operation<P extends keyof paths, M extends Method> = paths[P] extends Record<M, infer O> ? O : never
type Parameters<O, In extends string> = O extends { parameters: infer Q } ? (Q extends { [K in In]?: infer V } ? V : never) : never
type Answer<O> = O extends { responses: infer R }
  ? { [S in keyof R]: S extends 200 | 202 ? (R[S] extends { content: { 'application/json': infer B } } ? B : never) : never }[keyof R]
  : never
type Body<O> = O extends { requestBody?: { content: { 'application/json': infer B } } } ? B : never

interface Options<O> {
  path?: Parameters<O, 'path'>
  query?: Parameters<O, 'query'>
  signal?: AbortSignal
}

const prefix = '/api/v1/'

/** The address of a route with its parameters filled in. */
export function address(route: string, path: Record<string, string> = {}, query: Record<string, unknown> = {}): string {
  const filled = route.slice(prefix.length).replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ''))
  const q = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined && one !== '') q.append(name, String(one))
  }
  const text = q.toString()
  return base + filled + (text ? '?' + text : '')
}

export async function get<P extends With<'get'> & string>(
  route: P,
  o: Options<Operation<P, 'get'>> = {},
): Promise<Answer<Operation<P, 'get'>>> {
  return json(await send(address(route, o.path as never, o.query as never), { signal: o.signal }))
}

export async function post<P extends With<'post'> & string>(
  route: P,
  body: Body<Operation<P, 'post'>>,
  o: Options<Operation<P, 'post'>> = {},
): Promise<Answer<Operation<P, 'post'>>> {
  return json(await postTo(address(route, o.path as never, o.query as never), body, o.signal))
}

/** Sends a body to an address, for routes that the server may or may not have. */
export function postTo(url: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return send(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body ?? {}), signal })
}

async function json<T>(r: Response): Promise<T> {
  return (await r.json()) as T
}

/** A request with the token; anything but success is a Refusal. */
export async function send(url: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  if (session.token) headers.set('Authorization', 'Bearer ' + session.token)
  let r: Response
  try {
    r = await fetch(url, { ...init, headers, credentials: 'omit', cache: 'no-store' })
  } catch (e) {
    if (init.signal?.aborted) throw e
    throw new Refusal('The server does not answer. Is it running?', 0)
  }
  if (r.ok) return r
  if (r.status === 401) session.ask()
  throw await refusal(r)
}

async function refusal(r: Response): Promise<Refusal> {
  try {
    const p = (await r.json()) as Problem
    const faults = (p.errors ?? []).map((e) => [e.location, e.message].filter(Boolean).join(' '))
    const text = r.status === 422 && faults.length > 0 ? faults.join('; ') : (p.detail ?? p.title ?? '')
    return new Refusal(sentence(text || r.statusText), r.status, p)
  } catch {
    return new Refusal(`The server answered ${r.status} ${r.statusText}`.trim() + '.', r.status)
  }
}

function sentence(s: string): string {
  return s.charAt(0).toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? '' : '.')
}
