import { defineConfig } from "vite";

// https://vite.dev/config/
export default defineConfig({
  build: { outDir: "dist" },
  server: {
    host: "127.0.0.1",
    proxy: { "/api": { target: "http://127.0.0.1:8080", changeOrigin: true } },
    port: 5174, // the API allows this origin
  },
});
