package admin

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

// Books is what operators ask of the ledger beside what they ask of single accounts.
type Books interface {
	Summary() (storage.LedgerSummary, error)
	Entries(account string, from uint64, limit int) ([]storage.Entry, error)
	Transfer(t storage.Transfer) (storage.Balance, error)
	Verification() storage.Verification
	StartVerification() (started bool, err error)
}

// Archive writes the stores out while they work. It ends with an error as soon as w does.
type Archive interface {
	// Export writes the ledger's lines from position from to to (0: the last) in format jsonl or csv.
	Export(w io.Writer, format string, from, to uint64) error
	// Records writes the decision records of requests that began from since until before until, of an account and a key, "" for all.
	Records(w io.Writer, since, until time.Time, account, key string) error
	// Backup writes a backup, with the log if asked to. It never holds the root key.
	Backup(w io.Writer, withLog bool) error
}

func (a *api) ledgerRoutes(table engine.Routes) {
	table["/api/v1/admin/ledger"] = engine.Methods{"GET": a.admin(a.ledger)}
	table["/api/v1/admin/ledger/"] = engine.Methods{"GET": a.admin(a.ledgerLines)}
	table["/api/v1/admin/ledger/verify"] = engine.Methods{"GET": a.admin(a.verification), "POST": a.admin(a.verify)}
	table["/api/v1/admin/ledger/export"] = engine.Methods{"GET": a.admin(a.export)}
	table["/api/v1/admin/transfers"] = engine.Methods{"POST": a.admin(a.transfer)}
	table["/api/v1/admin/records"] = engine.Methods{"GET": a.admin(a.records)}
	table["/api/v1/admin/backup"] = engine.Methods{"GET": a.admin(a.backup)}
}

// LedgerStanding is the standing of the ledger and of a page of its accounts, as the API shows it.
type LedgerStanding struct {
	Position     uint64            `json:"position"`
	Hash         string            `json:"hash"`
	Accounts     uint64            `json:"accounts"`
	OpenHolds    uint64            `json:"open_holds"`
	Posted       string            `json:"credits_posted"`
	Issued       string            `json:"credits_issued"`
	Revenue      string            `json:"credits_revenue"`
	Loss         string            `json:"credits_loss"`
	Verification *VerificationJSON `json:"verification,omitempty"` // absent of a stopped gateway
	Data         []LedgerBalance   `json:"data"`
	Next         *string           `json:"next"`
}

// LedgerBalance is what an account has.
type LedgerBalance struct {
	Account   string `json:"account"`
	Posted    string `json:"credits_posted"`
	Held      string `json:"credits_held"`
	Overdraft string `json:"overdraft"`
	Remaining string `json:"credits_remaining"`
}

// VerificationJSON is what proving the whole ledger has come to, as the API shows it.
type VerificationJSON struct {
	Running bool       `json:"running"`
	Checked uint64     `json:"checked"`
	Of      uint64     `json:"of"`
	Proven  *time.Time `json:"proven_at"` // null: never since the start
	Through uint64     `json:"proven_through"`
	Took    float64    `json:"took_seconds"`
	Fault   string     `json:"fault,omitempty"`
}

// ShowVerification converts a state.
func ShowVerification(v storage.Verification) *VerificationJSON {
	out := &VerificationJSON{Running: v.Running, Checked: v.Checked, Of: v.Of, Through: v.Through, Took: float64(v.Took.Milliseconds()) / 1000, Fault: v.Fault}
	if !v.Proven.IsZero() {
		at := v.Proven.UTC()
		out.Proven = &at
	}
	return out
}

// ShowStanding converts the standing of a ledger.
func ShowStanding(s storage.LedgerSummary) LedgerStanding {
	return LedgerStanding{
		Position: s.Position, Hash: hex.EncodeToString(s.Hash[:]), Accounts: s.Accounts, OpenHolds: s.OpenHolds,
		Posted: s.Posted.String(), Issued: s.Issued.String(), Revenue: s.Revenue.String(), Loss: s.Loss.String(), Data: []LedgerBalance{},
	}
}

// ShowBalance converts an account's balance.
func ShowBalance(b storage.Balance) LedgerBalance {
	return LedgerBalance{b.Account, b.Posted.String(), b.Held.String(), b.Overdraft.String(), b.Available().String()}
}

// LedgerLine is a line of the ledger, as the API shows it.
type LedgerLine struct {
	Position  uint64 `json:"position"`
	Seq       uint64 `json:"seq"`
	Previous  uint64 `json:"previous"`
	Time      string `json:"time"`
	Kind      string `json:"kind"`
	Request   string `json:"request,omitempty"`
	Reference string `json:"reference,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Key       string `json:"key,omitempty"`
	Team      string `json:"team,omitempty"`
	Tier      uint8  `json:"tier"`
	Amount    string `json:"amount"`
	Charged   string `json:"charged"`
	Loss      string `json:"loss"`
	Posted    string `json:"posted"`
	Held      string `json:"held"`
	Open      uint64 `json:"open_holds"`
	Overdraft string `json:"overdraft"`
	Expires   string `json:"expires,omitempty"`
	Hash      string `json:"hash"`
}

// ShowLine converts a line.
func ShowLine(e *storage.Entry) LedgerLine {
	line := LedgerLine{
		Position: e.Position, Seq: e.Seq, Previous: e.Previous, Time: e.Time.UTC().Format(time.RFC3339Nano), Kind: e.Kind.String(),
		Reference: e.Reference, Reason: e.Reason, Key: e.Key, Team: e.Team, Tier: e.Tier,
		Amount: e.Amount.String(), Charged: e.Charged.String(), Loss: e.Loss.String(), Posted: e.Posted.String(), Held: e.Held.String(),
		Open: e.Open, Overdraft: e.Overdraft.String(), Hash: hex.EncodeToString(e.Hash[:]),
	}
	if e.Request != (storage.RequestID{}) {
		line.Request = e.Request.String()
	}
	if e.Kind == storage.EntryHold {
		line.Expires = e.Expires.UTC().Format(time.RFC3339Nano)
	}
	return line
}

// ledger answers with the standing of the whole ledger and, a page at a time, of its accounts: ?after=ACCOUNT&limit=1..1000.
func (a *api) ledger(ctx *fasthttp.RequestCtx) {
	limit, ok := pageLimit(ctx)
	if !ok {
		return
	}
	sum, err := a.Books.Summary()
	if err != nil {
		a.refuse(ctx, err, "")
		return
	}
	out := ShowStanding(sum)
	out.Verification = ShowVerification(a.Books.Verification())
	after := string(ctx.QueryArgs().Peek("after"))
	for _, account := range a.Directory.Accounts() {
		if account.ID <= after {
			continue
		}
		if len(out.Data) == limit {
			out.Next = &out.Data[limit-1].Account
			break
		}
		b, err := a.Ledger.Balance(account.ID)
		if err != nil {
			a.refuse(ctx, err, "")
			return
		}
		out.Data = append(out.Data, ShowBalance(b))
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, out)
}

// ledgerLines answers with lines of an account, newest first: ?from=POSITION&limit=1..1000.
func (a *api) ledgerLines(ctx *fasthttp.RequestCtx) {
	limit, ok := pageLimit(ctx)
	if !ok {
		return
	}
	from, ok := position(ctx, "from")
	if !ok {
		return
	}
	entries, err := a.Books.Entries(engine.Part(ctx), from, limit)
	if err != nil {
		a.refuse(ctx, err, "account")
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, ShowLines(entries))
}

// LedgerLines is a page of lines; Next is the position to go on from, 0 at the end.
type LedgerLines struct {
	Data []LedgerLine `json:"data"`
	Next uint64       `json:"next"`
}

// ShowLines converts a page of lines.
func ShowLines(entries []storage.Entry) LedgerLines {
	page := LedgerLines{Data: make([]LedgerLine, len(entries))}
	for i := range entries {
		page.Data[i], page.Next = ShowLine(&entries[i]), entries[i].Previous
	}
	return page
}

func (a *api) verification(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, ShowVerification(a.Books.Verification()))
}

// verify begins to prove the whole ledger, unless that is under way.
func (a *api) verify(ctx *fasthttp.RequestCtx) {
	if _, err := a.Books.StartVerification(); err != nil {
		a.refuse(ctx, err, "")
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusAccepted, ShowVerification(a.Books.Verification()))
}

// transfer moves credits between accounts, once per reference.
func (a *api) transfer(ctx *fasthttp.RequestCtx) {
	var body struct {
		From      string `json:"from"`
		To        string `json:"to"`
		Amount    string `json:"amount"`
		Reference string `json:"reference"`
	}
	if f := engine.ReadJSON(ctx, &body); f != nil {
		f.Write(ctx)
		return
	}
	amount, err := storage.ParseCredits(body.Amount)
	switch {
	case err != nil:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "amount", err.Error())
		return
	case amount <= 0 || amount > maxGrant:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "amount", "amount must be above 0 and at most 1000000000 credits")
		return
	case len(body.Reference) == 0 || len(body.Reference) > 128:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "reference", "reference must have 1 to 128 bytes: it makes the transfer idempotent")
		return
	case body.From == body.To:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "to", "to must be another account than from")
		return
	}
	for param, id := range map[string]string{"from": body.From, "to": body.To} {
		if _, err := a.Ledger.Balance(id); err != nil {
			a.refuse(ctx, err, param)
			return
		}
	}
	b, err := a.Books.Transfer(storage.Transfer{From: body.From, To: body.To, Amount: amount, Reference: body.Reference})
	if err != nil {
		a.refuse(ctx, err, "reference")
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]string{
		"from": body.From, "to": body.To, "amount": amount.String(), "reference": body.Reference,
		"credits_remaining": b.Available().String(), "credits_held": b.Held.String(),
	})
}

// checkGrant says what is wrong with a grant's kind and amount, and of which of the two; "" for nothing.
func checkGrant(kind string, amount storage.Credits) (param, wrong string) {
	switch kind {
	case "purchase", "bonus", "refund":
		if amount <= 0 || amount > maxGrant {
			return "amount", "amount must be above 0 and at most 1000000000 credits; only an adjustment may take credits back"
		}
	case "adjustment":
		if amount == 0 || amount > maxGrant || amount < -maxGrant {
			return "amount", "amount must be from -1000000000 to 1000000000 credits and not 0"
		}
	default:
		return "kind", "kind must be purchase, bonus, refund or adjustment"
	}
	return "", ""
}

// export streams the ledger's lines: ?format=jsonl|csv&from=POSITION&to=POSITION.
func (a *api) export(ctx *fasthttp.RequestCtx) {
	from, ok := position(ctx, "from")
	if !ok {
		return
	}
	to, ok := position(ctx, "to")
	if !ok {
		return
	}
	format, contentType := string(ctx.QueryArgs().Peek("format")), ""
	switch format {
	case "", "jsonl":
		format, contentType = "jsonl", "application/jsonl"
	case "csv":
		contentType = "text/csv"
	default:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "format", "format must be jsonl or csv")
		return
	}
	a.stream(ctx, contentType, func(w io.Writer) error { return a.Archive.Export(w, format, from, to) })
}

// records streams decision records: ?since=TIME&until=TIME&account=ID&key=ID.
func (a *api) records(ctx *fasthttp.RequestCtx) {
	var since, until time.Time
	for name, at := range map[string]*time.Time{"since": &since, "until": &until} {
		text := string(ctx.QueryArgs().Peek(name))
		if text == "" {
			continue
		}
		var err error
		if *at, err = time.Parse(time.RFC3339, text); err != nil {
			fault(ctx, fasthttp.StatusBadRequest, "invalid_value", name, name+" must be a time like 2026-11-01T00:00:00Z")
			return
		}
	}
	account, key := string(ctx.QueryArgs().Peek("account")), string(ctx.QueryArgs().Peek("key"))
	a.stream(ctx, "application/vnd.pointsman.records", func(w io.Writer) error { return a.Archive.Records(w, since, until, account, key) })
}

// backup streams a backup: ?log=true for one with the log.
func (a *api) backup(ctx *fasthttp.RequestCtx) {
	withLog, err := strconv.ParseBool(string(ctx.QueryArgs().Peek("log")))
	if err != nil && ctx.QueryArgs().Has("log") {
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "log", "log must be true or false")
		return
	}
	a.stream(ctx, "application/x-tar", func(w io.Writer) error { return a.Archive.Backup(w, withLog) })
}

// stream answers with what produce writes, at the speed at which the client reads. If it fails, or the gateway stops, the
// connection is cut, so that no part is taken for the whole.
func (a *api) stream(ctx *fasthttp.RequestCtx, contentType string, produce func(w io.Writer) error) {
	path := string(ctx.Path())
	r, w := io.Pipe()
	release := context.AfterFunc(a.Life, func() { w.CloseWithError(errStopping) })
	go func() {
		defer release()
		err := produce(w)
		if err != nil {
			a.Logger.Error("writing out failed", "path", path, "error", err)
		}
		w.CloseWithError(err)
	}()
	ctx.SetContentType(contentType)
	ctx.Response.SetBodyStream(r, -1)
}

var errStopping = fmt.Errorf("the gateway is stopping: %w", storage.ErrClosed)

// pageLimit reads ?limit, or refuses the request.
func pageLimit(ctx *fasthttp.RequestCtx) (limit int, ok bool) {
	text := ctx.QueryArgs().Peek("limit")
	if len(text) == 0 {
		return 100, true
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > 1000 {
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "limit", "limit must be a number from 1 to 1000")
		return 0, false
	}
	return n, true
}

// position reads a ledger position from the query, 0 if there is none, or refuses the request.
func position(ctx *fasthttp.RequestCtx, name string) (n uint64, ok bool) {
	text := ctx.QueryArgs().Peek(name)
	if len(text) == 0 {
		return 0, true
	}
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil || n == 0 {
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", name, name+" must be a ledger position, a number from 1")
		return 0, false
	}
	return n, true
}
