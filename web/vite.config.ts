// One script and one style sheet, into the Python package: no chunks, no names that change with the contents.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../src/morphem/report/assets",
    emptyOutDir: false,
    target: "es2022",
    sourcemap: false,
    cssCodeSplit: false,
    reportCompressedSize: true,
    lib: {
      entry: "src/main.ts",
      formats: ["iife"],
      name: "morphem",
      fileName: () => "page.js",
      cssFileName: "page",
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node", testTimeout: 60_000 },
} as Parameters<typeof defineConfig>[0]);
