/** Send requests to the shop's API, and record each with its response or error. */

import { readTiming } from "./timing.js";
import { parseJSON } from "./values.js";

const TIMEOUT_MS = 20_000;

/** The response is an error, with problem details (RFC 9457). */
export class ProblemError extends Error {
  constructor(body, exchange) {
    super(body?.detail ?? body?.title ?? `The service responded with status ${exchange.status}.`);
    this.status = exchange.status;
    this.store = body?.store ?? null;
    this.nodes = body?.nodes ?? [];
    this.requestId = exchange.requestId;
    this.retryAfter = exchange.retryAfter;
  }
}

/** There was no response: the service is stopped, or the network is down. */
export class UnreachableError extends Error {
  constructor() {
    super("The service does not answer.");
  }
}

/** Dispatches an event for every request that ended: `detail` is what `ask` returns. */
export const exchanges = new EventTarget();

/**
 * Send a request for `path`. `kind` is its purpose ("list", "facets", "refresh", "product"). With
 * the `etag` of an earlier response, the status is 304 and the body `null` if nothing changed.
 *
 * Throws `ProblemError`, `UnreachableError`, or the reason of `signal` if that is aborted.
 */
export async function ask(path, { kind, etag = null, signal = null }) {
  const began = performance.now();
  const exchange = {
    kind, path, sent: etag, at: new Date(), status: 0, missing: new Set(), missingNodes: [],
  };
  try {
    const response = await fetch(path, {
      headers: { Accept: "application/json", ...(etag === null ? {} : { "If-None-Match": etag }) },
      signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])]),
    });
    readHeaders(response, exchange);
    const bytes = new Uint8Array(await response.arrayBuffer());
    exchange.bytes = bytes.length;
    exchange.body = bytes.length === 0 ? null : parseJSON(new TextDecoder().decode(bytes));
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    // An incomplete response, or one that is not JSON, counts as no response.
    if (exchange.status < 400) {
      exchange.status = 0;
      throw new UnreachableError();
    }
  } finally {
    exchange.ms = performance.now() - began;
    if (!signal?.aborted) {
      exchanges.dispatchEvent(new CustomEvent("exchange", { detail: exchange }));
    }
  }
  if (exchange.status >= 400) throw new ProblemError(exchange.body, exchange);
  return exchange;
}

function readHeaders(response, exchange) {
  const { headers } = response;
  exchange.status = response.status;
  exchange.etag = headers.get("ETag");
  exchange.requestId = headers.get("X-Request-ID");
  exchange.missing = new Set(listed(headers.get("X-Missing-Stores")));
  exchange.missingNodes = listed(headers.get("X-Missing-Nodes"));
  exchange.missingCount = Number.parseInt(headers.get("X-Missing-Count"), 10) || 0;
  exchange.next = nextLink(headers.get("Link"));
  exchange.timing = readTiming(headers.get("Server-Timing"));
  exchange.cacheControl = headers.get("Cache-Control");
  exchange.encoding = headers.get("Content-Encoding");
  exchange.transferred = Number.parseInt(headers.get("Content-Length"), 10) || null;
  exchange.retryAfter = Number.parseInt(headers.get("Retry-After"), 10) || 0;
}

function listed(header) {
  return (header ?? "").split(",").map((one) => one.trim()).filter(Boolean);
}

/** Return the address of the next page from the `Link` header, or `null` on the last page. */
function nextLink(header) {
  for (const [, address, parameters] of (header ?? "").matchAll(/<([^>]*)>([^<]*)/g)) {
    if (/;\s*rel="?next"?/i.test(parameters)) {
      const url = new URL(address, location.href);
      return url.origin === location.origin ? url.pathname + url.search : null;
    }
  }
  return null;
}
