// POST /v1/deliveries: check the token and the body, insert the row, put its job on the queue, answer 202.

import { createHash, randomUUID } from "node:crypto";
import jwt from "@fastify/jwt";
import { Queue } from "bullmq";
import Fastify from "fastify";
import pg from "pg";
import * as config from "./config.js";

const MAX_ATTEMPTS = 3;

const pool = new pg.Pool({ connectionString: config.databaseUrl(), max: 10 });
const redis = config.redisClient();
const queue = new Queue(config.queueName, {
  connection: redis,
  defaultJobOptions: {
    attempts: MAX_ATTEMPTS,
    backoff: { type: "exponential", delay: 2000 },
    removeOnComplete: { count: 100 },
    removeOnFail: { count: 1000 },
  },
});

const app = Fastify({
  logger: { level: "warn" },
  bodyLimit: 1048576,
  keepAliveTimeout: 75000,
  // An unknown field or a number in place of text is refused, as the contract says, not mended.
  ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
});

await app.register(jwt, {
  secret: config.jwtSecret(),
  verify: {
    checkTyp: "at+jwt",
    algorithms: ["HS256"],
    allowedIss: "slipway",
    allowedAud: "slipway",
    requiredClaims: ["exp", "iat", "sub", "jti", "iss", "aud"],
    clockTolerance: 10000,
  },
});

const schema = {
  headers: {
    type: "object",
    properties: { "idempotency-key": { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" } },
  },
  body: {
    type: "object",
    additionalProperties: false,
    required: ["url", "payload"],
    properties: {
      url: { type: "string", maxLength: 2048, pattern: "^https?://[^\\s]+$" },
      payload: {},
      headers: {
        type: "object",
        maxProperties: 50,
        additionalProperties: { type: "string", maxLength: 4096 },
        default: {},
      },
      max_attempts: { type: "integer", minimum: 1, maximum: 50 },
    },
  },
  response: {
    202: {
      type: "object",
      properties: { id: { type: "string" }, status: { type: "string" } },
    },
  },
};

const INSERT = {
  name: "insert-delivery",
  text: `INSERT INTO deliveries (id, user_id, url, payload, headers, max_attempts, idempotency_key, request_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (user_id, idempotency_key) DO NOTHING RETURNING id`,
};
const FIND = {
  name: "find-delivery",
  text: "SELECT id, request_hash, completed_at FROM deliveries WHERE user_id = $1 AND idempotency_key = $2",
};

async function authenticate(request, reply) {
  try {
    await request.jwtVerify();
  } catch {
    return reply.code(401).send({ title: "Unauthorized" });
  }
}

app.post("/v1/deliveries", { schema, onRequest: authenticate }, async (request, reply) => {
  const { url, payload, headers, max_attempts: attempts = MAX_ATTEMPTS } = request.body;
  const key = request.headers["idempotency-key"] ?? null;
  const user = request.user.sub;
  const hash = key && createHash("sha256").update(JSON.stringify(request.body)).digest();
  let id = randomUUID();
  const values = [id, user, url, JSON.stringify(payload), JSON.stringify(headers), attempts, key, hash];
  const inserted = await pool.query({ ...INSERT, values });
  if (inserted.rowCount === 0) {
    const first = (await pool.query({ ...FIND, values: [user, key] })).rows[0];
    if (!first.request_hash.equals(hash)) {
      return reply.code(422).send({ title: "this Idempotency-Key was used with another body" });
    }
    reply.header("Idempotent-Replayed", "true");
    if (first.completed_at) {
      return reply.code(202).send({ id: first.id, status: "pending" });
    }
    // The first request may have died between its row and its job; the same job id makes adding it twice harmless.
    id = first.id;
  }
  await queue.add("deliver", { url, payload, headers }, { jobId: id, attempts });
  return reply.code(202).send({ id, status: "pending" });
});

app.get("/health", async (request, reply) => {
  try {
    await Promise.all([pool.query("SELECT 1"), redis.ping()]);
    return { status: "healthy" };
  } catch (error) {
    request.log.error(error);
    return reply.code(503).send({ status: "unhealthy" });
  }
});

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await app.close();
    await queue.close();
    redis.disconnect();
    await pool.end();
    process.exit(0);
  });
}

await app.listen({ host: "127.0.0.1", port: config.port() });
