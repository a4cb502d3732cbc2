// Runs the judges of all JavaScript clients, and prints a line of JSON for each case.
import { judges as ai } from "./ai-sdk.js";
import { judges as anthropic } from "./anthropic-sdk.js";
import { judges as openai } from "./openai-sdk.js";

for (const judge of [...openai, ...anthropic, ...ai]) await judge.run();
