package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Explanation is a decision with everything it rested on. It is made by repeating the decision on its recorded inputs, so
// that Reproduced is a proof: the same module decided the same again.
type Explanation struct {
	RequestID   string            `json:"request_id"`
	Policy      string            `json:"policy"`
	Digest      string            `json:"policy_digest"`
	Reproduced  *bool             `json:"reproduced"` // null when the module was replaced since, or texts it saw are not kept
	Failure     string            `json:"policy_failure,omitempty"`
	Decision    string            `json:"decision"` // answer or reject
	Reason      string            `json:"reason"`
	Why         string            `json:"why"`
	Explanation string            `json:"explanation,omitempty"`
	Generation  uint64            `json:"snapshot_generation"`
	Asked       ExplainedRequest  `json:"asked"`
	Candidates  []ExplainedOption `json:"candidates"`       // those of the last plan first, then the others in catalog order
	Rounds      []ExplainedRound  `json:"rounds,omitempty"` // before the last plan
	Wishes      *ExplainedWishes  `json:"wishes,omitempty"` // of the caller, beside the policy
	Attempts    []ExplainedTry    `json:"attempts"`
	Nearest     []ExplainedChange `json:"nearest,omitempty"` // what would have made another candidate the first choice, the least change first
	Usage       UsageEntry        `json:"usage"`
}

// ExplainedRequest is what the policy was told of the request.
type ExplainedRequest struct {
	PowerLevel   string   `json:"power_level"`
	Model        string   `json:"model,omitempty"`
	Task         string   `json:"task"`
	Needs        []string `json:"needs"`
	Private      bool     `json:"private"`
	InputTokens  uint32   `json:"input_tokens_estimated"`
	MaxOutput    uint32   `json:"max_output_tokens"`
	OutputCap    uint32   `json:"output_tokens_reserved"` // the policy's, when the request gave no limit
	Credits      string   `json:"credits_available"`
	AccountTier  uint8    `json:"account_tier"`
	Stream       bool     `json:"stream"`
	NoFallback   bool     `json:"no_fallback"`
	Conversation uint32   `json:"messages"`
}

// ExplainedOption is one candidate: its facts at the time, and why it is in or out.
type ExplainedOption struct {
	Rank          int      `json:"rank,omitempty"` // 1 is the first choice; 0: not in the plan
	Model         string   `json:"model"`
	Provider      string   `json:"provider"`
	In            bool     `json:"in"`
	Reason        string   `json:"reason"`
	Why           string   `json:"why"`
	Score         float32  `json:"score"`
	Tier          uint8    `json:"tier"`
	CreditsPer1K  string   `json:"credits_per_1k"`
	WorstCase     string   `json:"credits_worst_case"`
	Quality       float32  `json:"quality"`
	Health        string   `json:"health"`
	TTFT          float32  `json:"ttft_ms"`
	TokensPerSec  float32  `json:"tokens_per_second"`
	ErrorRate     float32  `json:"error_rate"`
	Inflight      uint16   `json:"inflight"`
	ContextWindow uint32   `json:"context_window"`
	Capabilities  []string `json:"capabilities"`
	Warm          bool     `json:"warm"` // it answered the conversation last, and has it in its prompt cache
	OwnKey        bool     `json:"byok"`
	Simulated     bool     `json:"simulated"`
}

// ExplainedWishes are what the caller wanted of models and providers. What that excluded is out as not_requested.
type ExplainedWishes struct {
	Asked string   `json:"asked"`
	Order []string `json:"order,omitempty"` // what the wishes made of the plan's steps: "model at provider"
}

// ExplainedRound is a plan that was not the last of its request.
type ExplainedRound struct {
	Decision    string   `json:"decision"` // ask, or answer: one that was held back
	Reason      string   `json:"reason"`
	Why         string   `json:"why"`
	Explanation string   `json:"explanation,omitempty"`
	Asked       string   `json:"asked,omitempty"` // the instruction of a side call
	Models      []string `json:"models"`          // in the order of the plan
}

// ExplainedTry is one attempt.
type ExplainedTry struct {
	Round    uint8    `json:"round"` // from 0
	SideCall bool     `json:"side_call,omitempty"`
	Model    string   `json:"model"`
	Provider string   `json:"provider"`
	Outcome  string   `json:"outcome"`
	Status   uint16   `json:"status"`
	TTFT     float32  `json:"ttft_ms"`
	Latency  float32  `json:"latency_ms"`
	Input    uint32   `json:"input_tokens"`
	Output   uint32   `json:"output_tokens"`
	Credits  string   `json:"credits"`
	Signs    []string `json:"signs,omitempty"` // what the policy was told of the answer
	Text     string   `json:"text,omitempty"`  // of a side call's answer, if texts are kept
}

// ExplainedChange is a change of one fact, worked out by asking the policy again, that would have made another candidate the first choice.
type ExplainedChange struct {
	Model      string `json:"model"`
	Provider   string `json:"provider"`
	OfModel    string `json:"of_model"` // whose fact it is: that candidate's, or the first choice's
	OfProvider string `json:"of_provider"`
	Fact       string `json:"fact"` // credits_per_1k (and the prices in proportion), quality, ttft_ms, error_rate, health, excluded
	From       string `json:"from"`
	To         string `json:"to"`
}

// showDecision explains a decision of the caller's own.
func (e *Engine) showDecision(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, endpointDecisions)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	e.WriteDecision(ctx, caller.Account.ID, Part(ctx))
}

// WriteDecision answers with the explanation of a request of an account, or of anybody's when account is empty.
func (e *Engine) WriteDecision(ctx *fasthttp.RequestCtx, account, requestID string) {
	explained, err := e.Explain(account, requestID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		notFound("decision_not_found", "request_id", fmt.Sprintf("no decision is recorded for request %.64q", requestID)).Write(ctx)
	case err != nil:
		e.Logger.Error("explaining a decision", "request", clip(requestID, 64), "error", err)
		(&Fault{Status: fasthttp.StatusInternalServerError, Type: typeServer, Code: "internal_error", Message: "the decision's record cannot be read"}).Write(ctx)
	default:
		WriteJSON(ctx, fasthttp.StatusOK, explained)
	}
}

// Explain repeats a recorded decision and says why every candidate was in or out. storage.ErrNotFound: no such request,
// or no decision was made for it.
func (e *Engine) Explain(account, requestID string) (*Explanation, error) {
	usage, data, err := e.Log.Find(account, requestID)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, storage.ErrNotFound
	}
	d, err := record.DecodeDecision(data)
	if err != nil {
		return nil, err
	}
	snap, err := e.generation(d.Request.Generation)
	if err != nil {
		return nil, err
	}
	snap = record.NewShortlists(snap.Candidates).Of(snap, d.Request)
	if len(snap.Candidates) != len(d.Request.Options) {
		return nil, fmt.Errorf("the decision is about %d candidates, generation %d has %d", len(d.Request.Options), snap.Generation, len(snap.Candidates))
	}
	x := &Explanation{
		RequestID: requestID, Policy: d.Policy, Digest: d.Ran.Digest, Failure: d.Failure,
		Decision: kindName(d.Plan.Kind), Reason: policy.ReasonName(d.Plan.Reason), Why: policy.ReasonText(d.Plan.Reason), Explanation: string(d.Plan.Explanation),
		Generation: d.Request.Generation, Asked: explainRequest(d, snap), Attempts: []ExplainedTry{}, Usage: NewUsageEntry(&usage),
	}
	if d.Wish != "" {
		x.Wishes = &ExplainedWishes{Asked: d.Wish}
		for _, i := range d.Tried {
			x.Wishes.Order = append(x.Wishes.Order, snap.Candidates[i].ModelName+" at "+snap.Candidates[i].ProviderName)
		}
	}
	again, facts, reproduced := e.repeat(d, snap)
	x.Reproduced = reproduced
	x.Candidates = e.explainOptions(d, snap, again)
	if reproduced != nil && *reproduced {
		x.Nearest = e.explainNearest(d, facts, again.Verdicts)
	}
	for i := range d.Earlier {
		x.Rounds = append(x.Rounds, explainRound(&d.Earlier[i], snap))
	}
	for i := range d.Outcomes {
		x.Attempts = append(x.Attempts, explainTry(&d.Outcomes[i], snap))
	}
	return x, nil
}

// repeat makes a recorded decision again and tells whether it came out the same: nil if it cannot be repeated. It returns
// the last plan that was made, with verdicts, or the recorded one, and the facts.
func (e *Engine) repeat(d *record.Decision, snap *policy.Published) (last *policy.Plan, f *policy.Facts, same *bool) {
	f = &policy.Facts{Snapshot: snap, Request: d.Request}
	if number := d.Request.State; number != 0 {
		_, data, err := e.States.State(d.Policy, number)
		if err != nil {
			return d.Plan, f, nil
		}
		f.State = &policy.State{Number: number, Bytes: data}
	}
	if d.Withheld || d.Failure != "" {
		return d.Plan, f, nil
	}
	last = new(policy.Plan)
	replaced := false
	again, err := d.Repeat(f, last, record.SamePlan, func(f *policy.Facts, plan *policy.Plan) error {
		ran, err := e.Policies.Route(e.loadedAs(d.Policy), f, plan)
		replaced = replaced || ran.Digest != d.Ran.Digest || d.Ran.Config != "" && ran.Config != d.Ran.Config
		return err
	})
	if replaced || d.Ran.Digest == "" || errors.Is(err, policy.ErrSuspended) {
		return d.Plan, f, nil
	}
	if err != nil {
		last = d.Plan
	}
	return last, f, &again
}

// maxNearest is how many changes are told.
const maxNearest = 5

func (e *Engine) explainNearest(d *record.Decision, f *policy.Facts, verdicts []policy.Verdict) (changes []ExplainedChange) {
	for _, a := range d.Nearest(f, verdicts, func(f *policy.Facts, plan *policy.Plan) error {
		_, err := e.Policies.Route(e.loadedAs(d.Policy), f, plan)
		return err
	}) {
		c, of := &f.Snapshot.Candidates[a.Candidate], &f.Snapshot.Candidates[a.Of]
		x := ExplainedChange{Model: c.ModelName, Provider: c.ProviderName, OfModel: of.ModelName, OfProvider: of.ProviderName, Fact: string(a.Fact)}
		x.From, x.To = factText(a.Fact, a.From), factText(a.Fact, a.To)
		changes = append(changes, x)
		if len(changes) == maxNearest {
			break
		}
	}
	return changes
}

// factText is a fact's value in words.
func factText(fact record.Fact, value float64) string {
	switch fact {
	case record.FactCredits:
		return storage.Credits(math.Round(value)).String()
	case record.FactHealth:
		return policy.HealthName(uint8(value))
	case record.FactExcluded:
		if value == 0 {
			return "offered"
		}
		return policy.ReasonName(uint16(value))
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}

func kindName(kind uint8) string {
	switch kind {
	case abi.KindReject:
		return "reject"
	case abi.KindAsk:
		return "ask"
	case abi.KindAccept:
		return "accept"
	}
	return "answer"
}

func explainRound(p *policy.Plan, snap *policy.Published) ExplainedRound {
	x := ExplainedRound{
		Decision: kindName(p.Kind), Reason: policy.ReasonName(p.Reason), Why: policy.ReasonText(p.Reason),
		Explanation: string(p.Explanation), Asked: string(p.Ask), Models: []string{},
	}
	for _, s := range p.Steps {
		x.Models = append(x.Models, snap.Candidates[s.Candidate].ModelName)
	}
	return x
}

func explainTry(o *policy.Outcome, snap *policy.Published) ExplainedTry {
	c := &snap.Candidates[o.Candidate]
	x := ExplainedTry{
		Round: o.Round, SideCall: o.Kind == abi.KindAsk, Model: c.ModelName, Provider: c.ProviderName, Outcome: policy.FailureName(o.Failure),
		Status: o.HTTP, TTFT: o.TTFT, Latency: o.Latency, Input: o.Input, Output: o.Output, Credits: storage.Credits(o.Credits).String(),
		Signs: policy.SignNames(o.Flags, o.Finish), Text: string(o.Text),
	}
	if x.Outcome == "" {
		x.Outcome = "ok"
	}
	return x
}

// generation rebuilds a recorded snapshot from its last key frame on.
func (e *Engine) generation(wanted uint64) (*policy.Published, error) {
	var s policy.Snapshot
	found := false
	err := e.Generations.WalkGenerations(wanted-min(wanted, record.KeyFrameEvery), wanted, func(generation uint64, data []byte) error {
		if !found && !record.IsKeyFrame(data) {
			return nil
		}
		found = true
		return record.ApplyGeneration(&s, generation, data)
	})
	if err == nil && s.Generation != wanted {
		err = fmt.Errorf("snapshot generation %d: %w", wanted, storage.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return policy.Publish(s), nil
}

func explainRequest(d *record.Decision, snap *policy.Published) ExplainedRequest {
	r := d.Request
	asked := ExplainedRequest{
		PowerLevel: levelName(r.Level), Task: policy.TaskName(r.Task), Needs: capabilities(r.Needs),
		Private: r.Privacy == abi.PrivacyLocal, InputTokens: r.InputTokens, MaxOutput: r.MaxOutput, OutputCap: d.Plan.MaxOutput,
		Credits: storage.Credits(r.Credits).String(), AccountTier: r.AccountTier, Stream: r.Flags&abi.FlagStream != 0,
		NoFallback: r.Flags&abi.FlagNoFallback != 0, Conversation: r.Messages,
	}
	for i := range snap.Candidates {
		if snap.Candidates[i].Model == r.Model {
			asked.Model = snap.Candidates[i].ModelName
		}
	}
	return asked
}

func (e *Engine) explainOptions(d *record.Decision, snap *policy.Published, plan *policy.Plan) []ExplainedOption {
	ranks := map[int]int{}
	for i, s := range plan.Steps {
		ranks[int(s.Candidate)] = i + 1
	}
	options := make([]ExplainedOption, len(snap.Candidates))
	output := d.Request.MaxOutput
	if output == 0 {
		output = d.Plan.MaxOutput
	}
	for i := range options {
		c, o := &snap.Candidates[i], d.Request.Options[i]
		x := ExplainedOption{
			Rank: ranks[i], Model: c.ModelName, Provider: c.ProviderName, Tier: c.Tier, CreditsPer1K: storage.Credits(c.CreditsPer1K).String(),
			Quality: c.Quality, Health: policy.HealthName(c.Health), TTFT: c.TTFT, TokensPerSec: c.TokensPerSec, ErrorRate: c.ErrorRate,
			Inflight: o.Inflight, ContextWindow: c.ContextWindow, Capabilities: capabilities(c.Capabilities),
			Warm: o.Flags&abi.OptionWarm != 0, OwnKey: o.Flags&abi.OptionOwnKey != 0, Simulated: o.Flags&abi.OptionSimulated != 0,
		}
		x.WorstCase = "0"
		if !x.OwnKey {
			x.WorstCase = e.worstText(d.Request, c, int64(output)).String()
		}
		reason := uint16(o.Excluded)
		if reason == 0 && i < len(plan.Verdicts) {
			reason, x.Score = plan.Verdicts[i].Reason, plan.Verdicts[i].Score
		}
		if x.Rank > 0 {
			step := plan.Steps[x.Rank-1]
			x.In, x.Score, reason = true, step.Score, step.Reason
		}
		x.Reason, x.Why = policy.ReasonName(reason), policy.ReasonText(reason)
		options[i] = x
	}
	slices.SortStableFunc(options, func(a, b ExplainedOption) int {
		if (a.Rank > 0) != (b.Rank > 0) {
			return b.Rank - a.Rank // the ranked one first
		}
		return a.Rank - b.Rank
	})
	return options
}
