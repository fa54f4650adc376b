import { vectorIndexContract } from "./vector-index.contract.ts";

vectorIndexContract({ name: "ExactIndex", build: (exact) => exact, recall: 1 });
