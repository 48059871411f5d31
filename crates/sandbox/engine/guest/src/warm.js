// Runs once, before the snapshot, the way a function does, so that what the engine makes at first use is there already.
export async function main(ctx) {
  const seen = new Set();
  // The built-in functions are made when they are first looked at.
  const visit = (object) => {
    if ((typeof object !== 'object' && typeof object !== 'function') || object === null || seen.has(object)) return;
    seen.add(object);
    for (const key of Reflect.ownKeys(object)) {
      const { value, get, set } = Reflect.getOwnPropertyDescriptor(object, key);
      visit(value);
      visit(get);
      visit(set);
    }
    visit(Object.getPrototypeOf(object));
  };
  visit(globalThis);
  await null;
  const { input, span } = ctx;
  ctx.log('warm', input, ctx.now(), ctx.random(), ctx.uuid(), ctx.crypto.hex(ctx.crypto.toU8('a')));
  const words = `${'a b'}`.split(' ').map((word) => word.toUpperCase()).filter(Boolean);
  const sum = [1, 2.5].reduce((total, n) => total + n, 0);
  const caught = await Promise.resolve().then(() => { throw new Error('warm'); }).catch((error) => error.stack.length);
  return { ...span, words, sum, caught, at: new Date(0).toISOString(), match: /a(.)/.exec('ab'), list: [...new Map([[1, 2]])] };
}
