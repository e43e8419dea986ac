// The only script of these pages: it carries bytes between the server and
// navigator.credentials. Without it, and without passkeys, the forms that need
// it stay hidden.
"use strict";
const toBytes = (text) => {
  const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
};
const toText = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function readOptions(o) {
  o.challenge = toBytes(o.challenge);
  if (o.user) o.user.id = toBytes(o.user.id);
  for (const list of [o.allowCredentials, o.excludeCredentials]) for (const c of list || []) c.id = toBytes(c.id);
  return o;
}

function writeCredential(c) {
  const r = c.response, out = { clientDataJSON: toText(r.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) if (r[name]) out[name] = toText(r[name]);
  if (r.getTransports) out.transports = r.getTransports();
  return JSON.stringify({ id: c.id, rawId: toText(c.rawId), type: c.type, authenticatorAttachment: c.authenticatorAttachment || undefined, clientExtensionResults: c.getClientExtensionResults(), response: out });
}

async function run(form) {
  const create = form.dataset.passkey === "create";
  const body = new URLSearchParams({ token: form.elements.token.value, step: form.elements.step ? form.elements.step.value : "" });
  const answer = await fetch(create ? "/account/passkeys/challenge" : "/signin/passkey/challenge", { method: "POST", body });
  if (!answer.ok) throw new Error("no challenge");
  const { id, options } = await answer.json();
  const publicKey = readOptions(options.publicKey);
  const credential = create ? await navigator.credentials.create({ publicKey }) : await navigator.credentials.get({ publicKey });
  form.elements.challenge.value = id;
  form.elements.response.value = writeCredential(credential);
  const choice = document.querySelector('input[name="computer"]:checked');
  if (choice && form.elements.computer) form.elements.computer.value = choice.value;
  form.submit();
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = form.querySelector(".note");
      said.hidden = true;
      run(form).catch(() => { said.hidden = false; });
    });
  }
}
