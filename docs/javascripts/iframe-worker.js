/* Search runs in a worker, which browsers refuse to pages opened from disk (file://). There a
 * hidden frame takes the worker's place; on a server nothing of this is used. */
;(function () {
  if (location.protocol !== "file:") return

  class FrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.onmessage = null
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      inside.importScripts = (...urls) =>
        urls.reduce((done, next) => done.then(() => load(inside, next)), Promise.resolve())
      inside.postMessage = (data) => this.answer(data)
      load(inside, String(url)).then(() => {
        this.inside = inside
        this.waiting.splice(0).forEach((data) => this.postMessage(data))
      })
    }

    postMessage(data) {
      if (!this.inside) this.waiting.push(data)
      else this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data }))
    }

    answer(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      if (this.onmessage) this.onmessage(event)
    }

    terminate() {}
  }

  function load(inside, url) {
    return new Promise((resolve, reject) => {
      const script = inside.document.createElement("script")
      script.src = url
      script.onload = resolve
      script.onerror = () => reject(new Error(`cannot load ${url}`))
      inside.document.head.appendChild(script)
    })
  }

  window.IFrameWorker = window.Worker = FrameWorker
})()
