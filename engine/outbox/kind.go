package outbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/report"
	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/storage"
)

// kind is what a receiver understands.
type kind interface {
	alerts() bool // it takes alerts
	// message writes a batch, of which the events in skip were taken before.
	message(b *batch, skip map[int]bool, now time.Time) *post
	// refused tells which events of the batch an answer refuses for good: true for those that it has already. Nil: the answer is a
	// failure of the whole.
	refused(r *reply, skip map[int]bool, size int) map[int]bool
}

// post is one HTTP request.
type post struct {
	path    string // behind the configured URL
	headers [][2]string
	body    []byte
}

// reply is what came of it.
type reply struct {
	status     int
	retryAfter string
	body       []byte
}

// retryError is a failure after which the receiver wants to be left alone for a while.
type retryError struct {
	status int
	after  time.Duration
}

func (e *retryError) Error() string {
	return fmt.Sprintf("the receiver answered with status %d", e.status)
}

// mostRetryAfter bounds how long a receiver can ask to be left alone.
const mostRetryAfter = time.Hour

func newKind(cfg Config) (kind, error) {
	switch {
	case cfg.Secret == "":
		return nil, errors.New("the secret is not set")
	case cfg.Kind == "lago":
		return lago{cfg.Secret, cfg.Code}, nil
	case cfg.Kind != "webhook":
		return nil, fmt.Errorf("kind %.40q is neither lago nor webhook", cfg.Kind)
	}
	key := []byte(cfg.Secret)
	if encoded, standard := strings.CutPrefix(cfg.Secret, "whsec_"); standard {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil || len(key) == 0 {
			return nil, errors.New("the secret begins with whsec_ and does not go on in base64")
		}
	}
	h := webhook{key: key}
	if u, err := url.Parse(cfg.URL); err == nil && strings.Trim(u.Path, "/") == "" {
		h.path = "/"
	}
	return h, nil
}

// deliver sends a batch until everything in it is taken or refused for good, or it fails.
func (s *Sender) deliver(b *batch) error {
	skip := map[int]bool{}
	for len(skip) < b.size() {
		answer, err := s.post(s.kind.message(b, skip, time.Now()))
		if err != nil {
			return err
		}
		if answer.status/100 == 2 {
			return nil
		}
		refused := s.kind.refused(&answer, skip, b.size())
		if len(refused) == 0 {
			return &retryError{answer.status, parseRetryAfter(answer.retryAfter, time.Now())}
		}
		for i, known := range refused {
			if skip[i] = true; !known {
				s.refused.Add(1)
				s.cfg.Logger.Error("the receiver refuses an event for good", "request", b.records[i].Request, "answer", fmt.Sprintf("%.300s", answer.body))
			}
		}
	}
	return nil
}

// parseRetryAfter reads seconds or a date.
func parseRetryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, mostRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now)), mostRetryAfter)
	}
	return 0
}

// send makes the HTTP request.
func (s *Sender) send(target *upstream.Target, p *post) (reply, error) {
	x := target.Begin(p.path)
	s.mu.Lock()
	s.exchange = x
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.exchange = nil
		s.mu.Unlock()
	}()
	select {
	case <-s.stop: // Close may have come before there was anything to cancel
		x.Cancel()
	default:
	}
	x.Request.Set(fasthttp.HeaderContentType, "application/json")
	for _, h := range p.headers {
		x.Request.Set(h[0], h[1])
	}
	x.Request.SetBody([3][]byte{p.body})
	if err := x.Do(false); err != nil {
		x.Close(false)
		return reply{}, fmt.Errorf("sending events: %w", err)
	}
	r := reply{
		status: x.Response.StatusCode(), retryAfter: string(x.Response.Header.Peek(fasthttp.HeaderRetryAfter)),
		body: append([]byte(nil), x.Response.Body()...),
	}
	x.Close(true)
	return r, nil
}

// webhook is a receiver of signed messages, as Standard Webhooks has them.
type webhook struct {
	key  []byte
	path string
}

func (webhook) alerts() bool { return true }

// message has an id and a body that depend on the batch alone: one that is sent again is the same.
func (h webhook) message(b *batch, _ map[int]bool, now time.Time) *post {
	at := time.UnixMicro(int64(b.next.Page)).UTC().Format(time.RFC3339Nano)
	kind, id := "usage", fmt.Sprintf("usage_%x_%d", b.next.Page, b.next.Ordinal)
	body := []byte(nil)
	if len(b.alerts) > 0 {
		kind, id = "alert", fmt.Sprintf("alerts_%x_%d", b.next.Page, b.next.Ordinal)
		var list []alertEvent
		for i := range b.alerts {
			list = append(list, alertOf(&b.alerts[i]))
		}
		alerts, err := json.Marshal(list)
		if err != nil { // the log read them from JSON
			panic(err)
		}
		body = fmt.Appendf(nil, `{"type":%q,"timestamp":%q,"data":{"alerts":%s}}`, kind, at, alerts)
	} else {
		body = fmt.Appendf(nil, `{"type":%q,"timestamp":%q,"data":{"requests":[`, kind, at)
		columns := report.UsageColumns()
		var values []report.Value
		for i := range b.records {
			if i > 0 {
				body = append(body, ',')
			}
			values = report.AppendUsage(values[:0], &b.records[i])
			body = report.AppendObject(body, columns, values)
		}
		body = append(body, "]}}"...)
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	return &post{path: h.path, body: body, headers: [][2]string{
		{"webhook-id", id}, {"webhook-timestamp", stamp}, {"webhook-signature", sign(h.key, id, stamp, body)},
	}}
}

// alertEvent is an alert as a webhook is told of it. Its id is the same whenever the same is told again.
type alertEvent struct {
	ID        string `json:"id"`
	Time      string `json:"time"`
	Spender   string `json:"spender"` // k:, a: or t: and the id of a key, an account or a team
	Period    string `json:"period"`
	Tier      *uint8 `json:"tier,omitempty"` // of the models that the budget is for
	Budget    string `json:"budget_credits"`
	Percent   int    `json:"percent"` // that was reached
	Spent     string `json:"spent_credits"`
	Next      string `json:"next_period,omitempty"`
	Suspended bool   `json:"suspended"`
}

func alertOf(a *storage.Alert) alertEvent {
	e := alertEvent{
		Time: a.Time.UTC().Format(time.RFC3339), Spender: string(a.Spender), Period: a.Period.String(), Tier: a.Tier, Budget: a.Credits.String(),
		Percent: a.Percent, Spent: a.Spent.String(), Suspended: a.Suspended,
	}
	tier := "all"
	if a.Tier != nil {
		tier = strconv.Itoa(int(*a.Tier))
	}
	e.ID = fmt.Sprintf("%s/%s/%s/%s/%d/%d", a.Spender, a.Period, tier, a.Credits, a.Percent, a.Period.Start(a.Time).Unix()) // a budget that was changed is another one
	if !a.Next.IsZero() {
		e.Next = a.Next.UTC().Format(time.RFC3339)
	}
	return e
}

func sign(key []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (webhook) refused(*reply, map[int]bool, int) map[int]bool { return nil }

// lago is Lago's API. It takes or refuses a batch as a whole, and tells which events are at fault: those that it has already are left
// out when the rest is sent again.
type lago struct{ secret, code string }

func (lago) alerts() bool { return false }

// lagoEvent is one event of Lago's.
type lagoEvent struct {
	TransactionID  string         `json:"transaction_id"`
	SubscriptionID string         `json:"external_subscription_id"`
	CustomerID     string         `json:"external_customer_id"`
	Code           string         `json:"code"`
	Timestamp      int64          `json:"timestamp"` // seconds
	Properties     lagoProperties `json:"properties"`
}

// lagoProperties are what metrics can be made of.
type lagoProperties struct {
	Model        string `json:"model"`
	Provider     string `json:"provider"`
	PowerLevel   string `json:"power_level"`
	Key          string `json:"key"`
	Team         string `json:"team"`
	Outcome      string `json:"outcome"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	CachedTokens int64  `json:"cached_tokens"`
	Reasoning    int64  `json:"reasoning_tokens"`
	Tokens       int64  `json:"tokens"`
	Credits      string `json:"credits"`
	CostUSD      string `json:"cost_usd"`
	BYOK         bool   `json:"byok"`
}

func (l lago) message(b *batch, skip map[int]bool, _ time.Time) *post {
	var events []lagoEvent
	for i := range b.records {
		if !skip[i] {
			events = append(events, l.event(&b.records[i]))
		}
	}
	body, err := json.Marshal(map[string]any{"events": events})
	if err != nil { // texts and numbers always marshal
		panic(err)
	}
	return &post{path: "/api/v1/events/batch", body: body, headers: [][2]string{{"Authorization", "Bearer " + l.secret}}}
}

func (l lago) event(u *storage.Usage) lagoEvent {
	return lagoEvent{
		TransactionID: u.Request.String(), SubscriptionID: u.Account, CustomerID: u.Account, Code: l.code, Timestamp: u.Request.Time().Unix(),
		Properties: lagoProperties{
			Model: u.Model, Provider: u.Provider, PowerLevel: u.PowerLevel, Key: u.Key, Team: u.Team, Outcome: string(u.Outcome),
			InputTokens: u.InputTokens, OutputTokens: u.OutputTokens, CachedTokens: u.CachedTokens, Reasoning: u.Reasoning,
			Tokens: u.InputTokens + u.OutputTokens, Credits: u.Credits.String(), CostUSD: u.CostUSD.String(), BYOK: u.BYOK,
		},
	}
}

// refused reads which events of a refused batch are at fault: their places among those that were sent.
func (lago) refused(r *reply, skip map[int]bool, size int) map[int]bool {
	var answer struct {
		Details map[string]map[string][]string `json:"error_details"`
	}
	if r.status != http.StatusUnprocessableEntity || json.Unmarshal(r.body, &answer) != nil {
		return nil
	}
	var sent []int
	for i := range size {
		if !skip[i] {
			sent = append(sent, i)
		}
	}
	refused := map[int]bool{}
	for at, faults := range answer.Details {
		n, err := strconv.Atoi(at)
		if err != nil || n < 0 || n >= len(sent) {
			return nil
		}
		ids := faults["transaction_id"]
		refused[sent[n]] = len(faults) == 1 && len(ids) == 1 && ids[0] == "value_already_exist"
	}
	return refused
}
