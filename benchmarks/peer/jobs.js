// The worker alone: jobs that wait for some milliseconds and note in a file when they began and ended.
// `node jobs.js work` runs them; `node jobs.js add PREFIX COUNT MILLISECONDS` puts that many on the queue.

import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, Worker } from "bullmq";
import * as config from "./config.js";

const BATCH = 1000;
const queueName = "jobs";
const connection = config.redisClient();

function work() {
  const file = openSync(process.env.BENCH_LOG, "a");
  const note = (event, id) => writeSync(file, `${event} ${id} ${Date.now() / 1000} ${process.pid}\n`);
  const run = async ({ data: { id, milliseconds } }) => {
    note("S", id);
    if (milliseconds > 0) {
      await sleep(milliseconds);
    }
    note("E", id);
  };
  const worker = new Worker(queueName, run, { connection, concurrency: config.concurrency, ...config.recovery });
  worker.on("error", (error) => console.error(error.message));
  process.once("SIGTERM", async () => {
    await worker.close();
    process.exit(0);
  });
}

async function add(prefix, count, milliseconds) {
  const queue = new Queue(queueName, {
    connection,
    defaultJobOptions: { removeOnComplete: { count: 100 }, removeOnFail: { count: 1000 } },
  });
  for (let first = 0; first < count; first += BATCH) {
    const length = Math.min(BATCH, count - first);
    await queue.addBulk(
      Array.from({ length }, (_, n) => ({ name: "job", data: { id: `${prefix}-${first + n}`, milliseconds } })),
    );
  }
  await queue.close();
  process.exit(0);
}

const [command, ...words] = process.argv.slice(2);
if (command === "work") {
  work();
} else {
  await add(words[0], Number(words[1]), Number(words[2]));
}
