// From the disk a page may start no worker: there the search of the site runs in a frame of its own.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget { // the theme asks for the second name
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.inside.document.write(`<!doctype html><script src="${new URL(url, location)}"><\/script>`);
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.loaded = new Promise((done) => { frame.onload = done; });
      this.inside.document.close();
    }
    postMessage(data) {
      this.loaded.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
