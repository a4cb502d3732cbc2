// What the gateway offers to a policy, and the numbers of the contract (sdk/abi) that the built-in policies use.

// @ts-ignore: decorator
@external("pointsman_policy_v1", "log")
export declare function log(level: i32, address: usize, length: u32): void;

export const VERSION = 1;
export const MAX_STEPS: u32 = 8;

// Snapshot and its candidates.
export const S_HEADER = 2, S_COUNT = 4, S_STRIDE = 6, S_GENERATION = 8, S_BLOB = 24;
export const C_MODEL = 8, C_TIER = 12, C_HEALTH = 13, C_STRENGTHS = 20, C_CONTEXT = 24, C_MAX_OUTPUT = 28, C_RATE = 32;
export const C_QUALITY = 64, C_TTFT = 68, C_ERRORS = 76, C_FLAGS = 84, C_NAME = 88, C_NAME_LEN = 92;
export const C_PROVIDER_LEN = 94, C_PROVIDER = 96;
export const HEALTH_DEGRADED = 2, HEALTH_DOWN = 3;
export const LOCAL = 1;
export const SPECIALIZED = 5; // the tier

// Request and its options.
export const R_HEADER = 2, R_STRIDE = 6, R_LEVEL = 24, R_TASK = 25, R_PRIVACY = 26, R_LATENCY = 27;
export const R_ACCOUNT_TIER = 28, R_FLAGS = 29, R_MODEL = 30, R_INPUT = 36, R_MAX_OUTPUT = 40, R_CREDITS = 48;
export const NO_MODEL = 0xffff;
export const NO_FALLBACK = 2;
export const EXCLUDED: u32 = 0xff, OWN_KEY: u32 = 1 << 8, WARM: u32 = 4 << 8, INFLIGHT = 16; // in an option read as one u32

// Plan, steps and verdicts.
export const P_SIZE = 32, STEP_SIZE = 24, VERDICT_SIZE = 8;
export const ANSWER = 1, REJECT = 3;

export const enum Reason {
  None = 0,
  Context = 3,
  Down = 4,
  NotLocal = 6,
  Unaffordable = 9,
  NotRequested = 64,
  OutsideBand = 65,
  Quality = 66,
  Outranked = 70,
  NotFree = 71,
  OutputTooLong = 72,
  Band = 128,
  Private = 129,
  OwnKey = 130,
  Instant = 131,
  LowCredits = 132,
  Named = 133,
  Task = 134,
  Widened = 135,
  Nothing = 137,
  NoCredits = 138,
}
