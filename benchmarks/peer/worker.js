// Send a delivery over kept connections, then store the attempt and the delivery's status in one transaction.

import { Worker } from "bullmq";
import pg from "pg";
import pino from "pino";
import { Agent, request } from "undici";
import * as config from "./config.js";

const TIMEOUT = 10000;
const EXCERPT = 2048;

const log = pino({ level: "warn" });
const pool = new pg.Pool({ connectionString: config.databaseUrl(), max: config.concurrency });
const agent = new Agent({ connections: config.concurrency, keepAliveTimeout: 30000 });

const STORE_DELIVERY = {
  name: "store-delivery",
  text: `UPDATE deliveries SET status = $2, last_error = $3, updated_at = now(),
                completed_at = CASE WHEN $2 = 'pending' THEN NULL ELSE now() END
         WHERE id = $1 AND completed_at IS NULL`,
};
const STORE_ATTEMPT = {
  name: "store-attempt",
  text: `INSERT INTO delivery_attempts
                (delivery_id, number, started_at, duration_ms, status_code, error, response_excerpt)
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6
         FROM delivery_attempts WHERE delivery_id = $1`,
};

async function send(job) {
  const { url, payload, headers } = job.data;
  const answer = await request(url, {
    method: "POST",
    dispatcher: agent,
    headersTimeout: TIMEOUT,
    bodyTimeout: TIMEOUT,
    headers: {
      "content-type": "application/json",
      ...headers,
      "webhook-id": job.id,
      "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
    },
    body: JSON.stringify(payload),
  });
  const excerpt = (await answer.body.text()).slice(0, EXCERPT).replaceAll("\0", "");
  return { code: answer.statusCode, excerpt: excerpt || null };
}

async function store(job, attempt) {
  const last = job.attemptsMade + 1 >= job.opts.attempts;
  const status = attempt.error === null ? "delivered" : last ? "failed" : "pending";
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query({ ...STORE_DELIVERY, values: [job.id, status, attempt.error] });
    const { started, duration, code, error, excerpt } = attempt;
    await client.query({ ...STORE_ATTEMPT, values: [job.id, started, duration, code, error, excerpt] });
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

async function deliver(job) {
  const started = new Date();
  const attempt = { started, code: null, error: null, excerpt: null };
  try {
    Object.assign(attempt, await send(job));
    if (attempt.code < 200 || attempt.code >= 300) {
      attempt.error = `the receiver answered ${attempt.code}`;
    }
  } catch (error) {
    attempt.error = error.message;
  }
  attempt.duration = Date.now() - started.getTime();
  await store(job, attempt);
  if (attempt.error !== null) {
    throw new Error(attempt.error);
  }
}

const worker = new Worker(config.queueName, deliver, {
  connection: config.redisClient(),
  concurrency: config.concurrency,
  ...config.recovery,
});
worker.on("error", (error) => log.error(error));
worker.on("failed", (job, error) => log.warn({ id: job?.id, error: error.message }, "delivery failed"));

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    await worker.close();
    await agent.close();
    await pool.end();
    process.exit(0);
  });
}
