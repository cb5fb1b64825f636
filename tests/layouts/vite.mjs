#!/usr/bin/env node
// Stands in for vite where it is not installed: serves the folder on the port of vite.config.ts.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const port = Number(/port: (\d+)/.exec(readFileSync("vite.config.ts", "utf8"))[1]);

createServer((request, response) => response.end(readFileSync("index.html"))).listen(port, "127.0.0.1");
