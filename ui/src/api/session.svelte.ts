const key = 'visutility.token'

/** The token, asked for when the server wants one. It lives as long as the tab, and is never in an address. */
class Session {
  token = $state(sessionStorage.getItem(key) ?? '')
  /** Whether the page should ask for a token, and whether one was refused. */
  asking = $state(false)
  refused = $state(false)
  /** Grows with every token: what was loaded with another is loaded anew. */
  epoch = $state(0)

  ask() {
    if (this.asking) return
    this.refused = this.token !== ''
    this.asking = true
  }

  give(token: string) {
    this.token = token
    sessionStorage.setItem(key, token)
    this.asking = false
    this.epoch++
  }

  forget() {
    sessionStorage.removeItem(key)
    this.token = ''
    this.epoch++
  }
}

export const session = new Session()
