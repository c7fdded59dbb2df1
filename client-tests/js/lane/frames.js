// WebSocket frames as RFC 6455 has them, read without mercy: what a lenient client forgives is an error here.

/** The length of the frame's head and of its payload; undefined while the head is not complete. */
export function frameHead(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  const more = short === 127 ? 8 : short === 126 ? 2 : 0;
  if (bytes.length < 2 + more) return undefined;
  let length = short;
  if (more === 2) length = bytes.readUInt16BE(2);
  if (more === 8) length = Number(bytes.readBigUInt64BE(2));
  return {
    fin: bytes[0] >> 7,
    rsv: (bytes[0] >> 4) & 7,
    opcode: bytes[0] & 15,
    masked: bytes[1] >> 7,
    head: 2 + more,
    length,
  };
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #kept = [];
  #size = 0;
  #wanted = 2;

  /** Whole frames, in order, as `{ ...head, payload, bytes }`. */
  *push(bytes) {
    this.#kept.push(bytes);
    this.#size += bytes.length;
    while (this.#size >= this.#wanted) {
      const all = this.#kept.length === 1 ? this.#kept[0] : Buffer.concat(this.#kept);
      this.#kept = [all];
      const head = frameHead(all);
      const end = head && head.head + head.length;
      if (head === undefined || all.length < end) {
        this.#wanted = head ? end : this.#wanted + 1;
        continue;
      }
      this.#kept = [all.subarray(end)];
      this.#size -= end;
      this.#wanted = 2;
      yield { ...head, payload: all.subarray(head.head, end), bytes: all.subarray(0, end) };
    }
  }

  /** Bytes of a frame that is not complete. */
  get rest() {
    return this.#size;
  }

  /** Everything that is kept, as it came. */
  take() {
    const all = Buffer.concat(this.#kept);
    this.#kept = [];
    this.#size = 0;
    return all;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What is wrong with a frame of a server that neither fragments nor extends; undefined: nothing. */
export function frameFault({ fin, rsv, opcode, masked, head, length, payload }) {
  if (rsv !== 0) return `reserved bits ${rsv}`;
  if (masked) return "masked";
  if (![1, 8, 9, 10].includes(opcode)) return `opcode ${opcode}`;
  if (!fin) return "a fragment";
  if (head === 4 && length < 126) return `${length} in two bytes`;
  if (head === 10 && length < 65_536) return `${length} in eight bytes`;
  if (opcode >= 8 && length > 125) return `a control frame of ${length} bytes`;
  if (opcode === 8 && length === 1) return "a close frame of one byte";
  if (opcode === 1) {
    try {
      utf8.decode(payload);
    } catch {
      return "no UTF-8";
    }
  }
  return undefined;
}

/** A client's frame: masked. */
export function clientFrame(opcode, payload, mask) {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 6 : 8);
  head[0] = 0x80 | opcode;
  if (length < 126) head[1] = 0x80 | length;
  else {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(length, 2);
  }
  mask.copy(head, head.length - 4);
  return Buffer.concat([head, payload.map((byte, at) => byte ^ mask[at % 4])]);
}

/** A server's frame of up to 64 KiB. */
export function serverFrame(opcode, payload, { fin = 1, long = false } = {}) {
  const { length } = payload;
  const head = Buffer.alloc(long ? 10 : length < 126 ? 2 : 4);
  head[0] = (fin << 7) | opcode;
  head[1] = long ? 127 : length < 126 ? length : 126;
  if (long) head.writeBigUInt64BE(BigInt(length), 2);
  else if (length >= 126) head.writeUInt16BE(length, 2);
  return Buffer.concat([head, payload]);
}
