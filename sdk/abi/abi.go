package abi

// Version is what pointsman_abi_version must return.
const Version = 1

// Exports of a policy module, with their WebAssembly signatures.
const (
	ExportVersion   = "pointsman_abi_version" // () -> i32
	ExportBuffer    = "pointsman_buffer"      // (size i32) -> i32
	ExportConfigure = "pointsman_configure"   // (len i32) -> i32
	ExportSnapshot  = "pointsman_snapshot"    // (len i32) -> i32
	ExportRoute     = "pointsman_route"       // (len i32) -> i64, address<<32 | length of a plan
	ExportDescribe  = "pointsman_describe"    // () -> i64, address<<32 | length of UTF-8 text; optional
	ExportNeeds     = "pointsman_needs"       // () -> i32, Grant* bits; optional: 0
	ExportNext      = "pointsman_next"        // (len i32) -> i64, a plan; optional: rounds
	ExportState     = "pointsman_state"       // (len i32) -> i32; with ExportObserve or not at all
	ExportObserve   = "pointsman_observe"     // (len i32) -> i64, address<<32 | length of the new state; optional: learning
	ExportMemory    = "memory"
	ExportStart     = "_initialize" // () -> (); optional
)

// HostModule is the import module of the optional host functions.
const HostModule = "pointsman_policy_v1"

// ImportLog writes one line to the gateway's debug log: (level i32, address i32, len i32). Level 0 is debug, 3 is error;
// text beyond 256 bytes is cut. It never influences a decision.
const ImportLog = "log"

// Grants a policy may need; the operator gives them.
const (
	GrantText = 1 << iota
	GrantMetadata
	GrantSideCalls
	GrantState
)

// Limits the host enforces.
const (
	MaxSteps       = 8       // steps of a plan
	MaxCandidates  = 8192    // records of a snapshot
	MaxExplanation = 512     // bytes
	MaxConfig      = 65_536  // bytes of configuration text
	MaxPlan        = 262_144 // bytes
	MaxText        = 32_768  // bytes of the last user message; what is longer is cut between characters
	MaxMetadata    = 4_096   // bytes of metadata text; whole lines are left out
	MaxState       = 32_768  // bytes
	MaxRounds      = 4       // plans of one request that are carried out
	MaxAsk         = 8_192   // bytes of the instruction of a side call
	MaxAskOutput   = 1_024   // tokens of a side call's answer
	MaxAskText     = 1_024   // bytes of a side call's answer that the policy gets; what is longer is cut between characters
	MaxOutcomes    = 512     // records of one pointsman_observe
)

// Snapshot buffer: a header, Count candidate records, a blob of names.
const (
	SnapshotHeaderSize = 64
	SnapshotVersion    = 0  // u16
	SnapshotHeader     = 2  // u16 size of this header
	SnapshotCount      = 4  // u16 candidates
	SnapshotStride     = 6  // u16 bytes per candidate record
	SnapshotGeneration = 8  // u64
	SnapshotWallMillis = 16 // i64 Unix milliseconds when the snapshot was taken
	SnapshotBlobOff    = 24 // u32 from the start of the buffer
	SnapshotBlobLen    = 28 // u32

	CandidateSize         = 104
	CandidateKey          = 0   // u64 identity of the deployment, stable across generations and restarts
	CandidateModel        = 8   // u16 number of the model; equal for deployments of one model
	CandidateProvider     = 10  // u16 number of the provider
	CandidateTier         = 12  // u8 0..5
	CandidateHealth       = 13  // u8 Health*
	CandidateMode         = 14  // u8 Mode*
	CandidateCapabilities = 16  // u32 Cap* bits
	CandidateStrengths    = 20  // u32 bit 1<<Task* for each task the model is known to be strong at
	CandidateContext      = 24  // u32 tokens
	CandidateMaxOutput    = 28  // u32 tokens, 0 unknown
	CandidateRate         = 32  // i64 micro-credits per 1,000 tokens
	CandidatePriceIn      = 40  // i64 pico-USD per input token (1 USD per million tokens = 1,000,000)
	CandidatePriceOut     = 48  // i64 pico-USD per output token
	CandidatePriceCache   = 56  // i64 pico-USD per input token read from cache
	CandidateQuality      = 64  // f32 0..1
	CandidateTTFT         = 68  // f32 milliseconds to first token, moving average; 0 unknown
	CandidateSpeed        = 72  // f32 output tokens per second, moving average; 0 unknown
	CandidateErrorRate    = 76  // f32 0..1, moving average
	CandidateSamples      = 80  // u32 outcomes seen, saturating
	CandidateFlags        = 84  // u32 CandidateLocal …
	CandidateNameOff      = 88  // u32 model name, from the start of the blob
	CandidateNameLen      = 92  // u16 bytes
	CandidateProviderLen  = 94  // u16 bytes
	CandidateProviderOff  = 96  // u32 provider name, from the start of the blob
	CandidateReserved     = 100 // u32 zero

	CandidateLocal  = 1 << 0 // CandidateFlags: runs on the operator's own machines
	CandidateOwnKey = 1 << 1 // CandidateFlags: the gateway has no key for it, only callers who bring one can be served
)

// Health of a candidate.
const (
	HealthUnknown = iota
	HealthHealthy
	HealthDegraded
	HealthDown
)

// Mode of a candidate's model.
const (
	ModeChat = iota
	ModeEmbedding
	ModeResponses
	ModeImage
	ModeTranscription
	ModeSpeech
	ModeModeration
	ModeRerank
)

// Capability bits.
const (
	CapTools = 1 << iota
	CapVision
	CapJSONSchema
	CapReasoning
	CapPromptCache
	CapPDF
	CapAudio
)

// Task kinds.
const (
	TaskUnknown = iota
	TaskCode
	TaskChat
	TaskRAG
	TaskCreative
	TaskAnalysis
	TaskTranslation
	TaskSummarization
	TaskReasoning
)

// Request buffer: a header, then one small record per candidate of the snapshot, in its order.
const (
	RequestHeaderSize  = 96
	RequestVersion     = 0  // u16
	RequestHeader      = 2  // u16 size of this header
	RequestCount       = 4  // u16, equals the snapshot's
	RequestStride      = 6  // u16 bytes per record
	RequestGeneration  = 8  // u64, equals the snapshot's
	RequestSeed        = 16 // u64
	RequestLevel       = 24 // u8 Level*
	RequestTask        = 25 // u8 Task*
	RequestPrivacy     = 26 // u8 Privacy*
	RequestLatency     = 27 // u8 Latency*
	RequestAccountTier = 28 // u8 0 free, 1 starter, 2 professional, 3 enterprise
	RequestFlags       = 29 // u8 Flag* bits
	RequestModel       = 30 // u16 number of the model asked for, NoModel if none
	RequestNeeds       = 32 // u32 Cap* bits the answer needs
	RequestInput       = 36 // u32 tokens, estimated
	RequestMaxOutput   = 40 // u32 tokens asked for, 0 if not given
	RequestMessages    = 44 // u32 messages in the conversation
	RequestCredits     = 48 // i64 micro-credits the account has available
	RequestSession     = 56 // u64 hash of the session, 0 if none
	RequestTextOff     = 64 // u32 last user message, UTF-8, from the start of the buffer; 0 without the grant
	RequestTextLen     = 68 // u32 bytes
	RequestMetadataOff = 72 // u32 metadata text, from the start of the buffer; 0 without the grant
	RequestMetadataLen = 76 // u32 bytes
	RequestState       = 80 // u64 number of the state the instance was given, 0 if none
	RequestReserved    = 88 // 8 bytes of zero

	OptionSize     = 4
	OptionExcluded = 0 // u8 0 if the candidate may be chosen, else the Reason* why not
	OptionFlags    = 1 // u8 Option* bits
	OptionInflight = 2 // u16 requests under way at this moment, saturating

	OptionOwnKey    = 1 << 0 // served with the account's own key: nothing is charged
	OptionSimulated = 1 << 1 // the simulated provider would answer
	OptionWarm      = 1 << 2 // this session's prompt cache is warm here
)

// NoModel in RequestModel says that the request names no model.
const NoModel = 0xFFFF

// Power levels.
const (
	LevelEco = iota + 1
	LevelBalanced
	LevelPrecision
	LevelCustom
)

// Privacy wishes.
const (
	PrivacyAny = iota
	PrivacyLocal
)

// Latency objectives: to the first token, under 500 ms, 2 s, 5 s.
const (
	LatencyUnset = iota
	LatencyInstant
	LatencyFast
	LatencyNormal
)

// RequestFlags bits.
const (
	FlagStream     = 1 << iota
	FlagNoFallback // the caller wants one model or an error
	FlagJSON       // the caller wants JSON: response_format json_object or json_schema
)

// Plan buffer: a header, steps, verdicts, explanation and instruction; the steps follow the header, the verdicts follow
// the steps. A header ends before PlanTag if nothing from there on is used.
const (
	PlanHeaderSize    = 32
	PlanRoundsSize    = 64 // of a header that has the fields from PlanTag on
	PlanVersion       = 0  // u16
	PlanHeader        = 2  // u16 size of this header; the steps follow it
	PlanKind          = 4  // u8 Kind*
	PlanFlags         = 5  // u8 PlanReview or zero
	PlanReason        = 6  // u16 Reason* or Because*
	PlanSteps         = 8  // u16 count, <= MaxSteps
	PlanStepStride    = 10 // u16
	PlanVerdicts      = 12 // u16 count: 0 or the snapshot's; they follow the steps
	PlanVerdictStride = 14 // u16
	PlanExplainOff    = 16 // u32 from the start of the plan, 0 if none
	PlanExplainLen    = 20 // u32 bytes of UTF-8
	PlanMaxOutput     = 24 // u32 output tokens to reserve credits for when the request gives no limit; 0: the engine's default
	PlanStatus        = 28 // u16 HTTP status of a reject, 400..599; 0: 503
	PlanReserved2     = 30 // u16 zero
	PlanTag           = 32 // u32 comes back in OutcomeTag, as the policy's own note of which round this is
	PlanAskOff        = 36 // u32 instruction of a side call, UTF-8, from the start of the plan
	PlanAskLen        = 40 // u32 bytes
	PlanAskInput      = 44 // u8 Ask* of a side call, else 0
	PlanReserved3     = 45 // u8 zero
	PlanAskOutput     = 46 // u16 tokens the side call may answer with at most; 0: 64
	PlanReserved4     = 48 // 16 bytes of zero

	PlanReview = 1 << 0 // PlanFlags of a KindAnswer: call pointsman_next before the answer is sent, also if there is none

	StepSize      = 24
	StepCandidate = 0  // u16 number in the snapshot
	StepAttempts  = 2  // u8 1..3
	StepFlags     = 3  // u8 zero
	StepTimeout   = 4  // u32 milliseconds to the first byte, 0: the engine's default
	StepHedge     = 8  // u32 milliseconds after which the next step, or else this one again, starts beside this one; 0: never; HedgeP95
	StepScore     = 12 // f32, any finite number; larger is better
	StepReason    = 16 // u16
	StepReserved  = 18 // 6 bytes of zero

	// HedgeP95 is a StepHedge of the time within which 95 % of the candidate's answers began, as far as that is known.
	HedgeP95 = 1<<32 - 1

	VerdictSize   = 8
	VerdictScore  = 0 // f32
	VerdictReason = 4 // u16 0: in the running; else why it is out
	VerdictRank   = 6 // u16 1 for the first step, 2 …; 0: not in the plan
)

// Kinds of plan.
const (
	KindAnswer = 1 // try the steps in order
	KindAsk    = 2 // a side call to the steps in order; its outcome comes back through pointsman_next
	KindReject = 3 // refuse the request with PlanStatus and the explanation
	KindAccept = 4 // only from pointsman_next: send the held answer; no steps
)

// What a side call is asked about, after its instruction: PlanAskInput.
const (
	AskPrompt = iota + 1 // the last user message
	AskAnswer            // the held answer
	AskBoth              // first the one, then the other
)

// Outcomes buffer, for pointsman_next and pointsman_observe: a header, Count outcome records, for pointsman_next the
// request as pointsman_route got it, a blob of texts.
const (
	OutcomesHeaderSize = 32
	OutcomesVersion    = 0  // u16
	OutcomesHeader     = 2  // u16 size of this header
	OutcomesCount      = 4  // u16 records
	OutcomesStride     = 6  // u16 bytes per record
	OutcomesRequestOff = 8  // u32 from the start of the buffer, a multiple of 8
	OutcomesRequestLen = 12 // u32 bytes; 0 in pointsman_observe
	OutcomesBlobOff    = 16 // u32 from the start of the buffer
	OutcomesBlobLen    = 20 // u32 bytes
	OutcomesReserved   = 24 // 8 bytes of zero

	OutcomeSize      = 64
	OutcomeKey       = 0  // u64 key of the candidate
	OutcomeCredits   = 8  // i64 micro-credits
	OutcomeCandidate = 16 // u16 number in the snapshot of the request
	OutcomeHTTP      = 18 // u16 the provider's status, 0 if none came
	OutcomeTag       = 20 // u32 of the plan
	OutcomeInput     = 24 // u32 tokens
	OutcomeOutput    = 28 // u32 tokens
	OutcomeTTFT      = 32 // f32 milliseconds to the first token, 0 if none came
	OutcomeLatency   = 36 // f32 milliseconds of the whole attempt
	OutcomeFlags     = 40 // u32 Outcome* bits
	OutcomeTextOff   = 44 // u32 text of a side call's answer, from the start of the blob
	OutcomeTextLen   = 48 // u16 bytes
	OutcomeRound     = 50 // u8 from 0
	OutcomeKind      = 51 // u8 Kind* of the plan
	OutcomeFailure   = 52 // u8 Failure*
	OutcomeFinish    = 53 // u8 Finish*
	OutcomeLevel     = 54 // u8 Level*
	OutcomeTask      = 55 // u8 Task*
	OutcomeReserved  = 56 // 8 bytes of zero

	OutcomeOK            = 1 << 0 // an answer came, whole
	OutcomeEmpty         = 1 << 1 // it has neither text nor tool calls
	OutcomeJSON          = 1 << 2 // its text is one JSON value, or it has none and calls tools
	OutcomeRefusal       = 1 << 3 // the provider marked it as a refusal or filtered it
	OutcomeRefusalPhrase = 1 << 4 // it is short and begins like a refusal in English
	OutcomeSimulated     = 1 << 5 // the simulated provider answered
	OutcomeOwnKey        = 1 << 6 // with the account's own key: uncharged
)

// Kinds of failure of an attempt.
const (
	FailureNone = iota
	FailureConnect
	FailureTimeout
	FailureServer
	FailureOverloaded
	FailureRateLimited
	FailureAuth
	FailureQuota
	FailureNotFound
	FailureBadRequest
	FailureContextLength
	FailureContentFilter
	FailureCancelled    // the client left; only pointsman_observe sees it
	FailureUnaffordable // nothing was tried: the account cannot pay for the round, or it costs more than rounds may
)

// Why an answer ended.
const (
	FinishUnknown = iota
	FinishStop
	FinishLength
	FinishToolCalls
	FinishContentFilter
)

// Reasons why a candidate is out. Those below 64 are decided by the engine before the policy is asked (OptionExcluded);
// the others by policies. Policies may use 1024 and above for reasons of their own.
const (
	ReasonNone          = 0
	ReasonMode          = 1 // another kind of model (embedding, …)
	ReasonCapability    = 2 // lacks a capability the request needs
	ReasonContext       = 3 // the prompt does not fit its context window
	ReasonDown          = 4 // circuit open
	ReasonNoKey         = 5 // no key for the provider, and no simulator
	ReasonNotLocal      = 6 // the request must stay on local models
	ReasonAccountTier   = 7 // above the account's tier
	ReasonNotGranted    = 8 // the virtual key does not grant this model
	ReasonUnaffordable  = 9 // its worst case exceeds the credits available
	ReasonNotRequested  = 64
	ReasonOutsideBand   = 65 // outside the tiers of the power level
	ReasonQuality       = 66 // below the level's least quality
	ReasonOverBudget    = 67 // worst case above the level's credits per request
	ReasonOverTenth     = 68 // worst case above a tenth of the credits left
	ReasonNotPreferred  = 69 // not at one of the level's providers
	ReasonOutranked     = 70 // fit, but not among the best
	ReasonNotFree       = 71 // charged, where only a free one will do
	ReasonOutputTooLong = 72 // cannot write as much as asked for
)

// Becauses say why the first step of a plan was chosen.
const (
	BecauseBand       = 128 // best score in the power level's band
	BecausePrivate    = 129 // privacy asked for: local models only
	BecauseOwnKey     = 130 // the account's own key serves it, uncharged
	BecauseInstant    = 131 // instant answer wanted and short: the fastest free model
	BecauseLowCredits = 132 // almost no credits, or a free account: a free model
	BecauseNamed      = 133 // the model that was named
	BecauseTask       = 134 // the band's best for this kind of task
	BecauseWidened    = 135 // nothing in the band could serve it: the nearest cheaper tier
	BecauseFallback   = 136 // the engine's own order, because the policy failed
	BecauseNothing    = 137 // reject: nothing capable
	BecauseNoCredits  = 138 // reject: nothing affordable
	BecauseHeld       = 139 // accept: the held answer is good enough
)
