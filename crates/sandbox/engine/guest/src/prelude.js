// Runs once, before the snapshot. Whatever user code may patch later is captured here first.
(native) => {
  'use strict';
  const { apply } = Reflect;
  const { freeze } = Object;
  const { stringify } = JSON;
  const toWellFormed = String.prototype.toWellFormed;
  const toText = String;
  const ErrorClass = Error, TypeErrorClass = TypeError, Bytes = Uint8Array, Buffer = ArrayBuffer;
  const isView = ArrayBuffer.isView;
  const wellFormed = (text) => apply(toWellFormed, text, []);

  Math.random = native.random;
  for (const name of ['SharedArrayBuffer', 'Atomics', 'WebAssembly', 'gc']) delete globalThis[name];

  const bytes = (data) => {
    if (data instanceof Bytes) return data;
    if (typeof data === 'string') return native.encode(wellFormed(data));
    if (data instanceof Buffer) return new Bytes(data);
    if (isView(data)) return new Bytes(data.buffer, data.byteOffset, data.byteLength);
    throw new TypeErrorClass('expected a Uint8Array or a string');
  };
  const hexOrBytes = (data) => (typeof data === 'string' ? native.unhex(wellFormed(data)) : bytes(data));

  const crypto = freeze({
    blake3: (data) => native.blake3(bytes(data)),
    hex: (data) => native.hex(bytes(data)),
    toU8: (text) => bytes(`${text}`),
    randomUUID: () => native.uuid(),
    ed25519: freeze({
      verify: (signature, message, publicKey) =>
        native.verify(hexOrBytes(signature), bytes(message), hexOrBytes(publicKey)),
    }),
  });

  const show = (value) => {
    if (typeof value === 'string') return value;
    try {
      if (value instanceof ErrorClass) return toText(value);
      const json = stringify(value);
      if (json !== undefined) return json;
    } catch {}
    return toText(value);
  };

  const log = (...values) => {
    let line = '';
    for (let i = 0; i < values.length; i++) line += (i === 0 ? '' : ' ') + show(values[i]);
    native.log(wellFormed(line));
  };

  // Made once: every run has an instance of its own to patch.
  const now = () => native.now();
  const random = () => native.random();
  const uuid = () => native.uuid();
  const context = (input, span, user, tenant) => {
    const env = freeze({ APP_USER_ID: user, APP_TENANT_ID: tenant });
    return { input, span, now, random, uuid, log, env, crypto };
  };

  return {
    invoke: async (main, input, span, user, tenant) => main(context(input, span, user, tenant)),
    // What is known of a thrown value: [name and message to tell the engine's own errors by, text, stack].
    describe: (thrown) => {
      const known = { name: '', message: '', text: 'the thrown value cannot be shown', stack: '' };
      try {
        known.text = wellFormed(show(thrown));
        if (thrown instanceof ErrorClass) {
          known.name = wellFormed(toText(thrown.name));
          known.message = wellFormed(toText(thrown.message));
          known.stack = wellFormed(toText(thrown.stack));
        }
      } catch {}
      return known;
    },
  };
};
