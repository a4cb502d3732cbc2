package ledger

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/pointsman/pointsman/storage"
)

// exported is a line with everything that its hash covers, so that anybody can make the hash again: amounts in micro-credits and
// times in milliseconds, as the encoding has them.
type exported struct {
	Position  uint64          `json:"position"`
	Account   string          `json:"account"`
	Seq       uint64          `json:"seq"`
	Previous  uint64          `json:"previous"`
	TimeMS    int64           `json:"time_ms"`
	Kind      string          `json:"kind"`
	Request   string          `json:"request"`
	Reference string          `json:"reference"`
	Reason    string          `json:"reason"`
	Key       string          `json:"key"`
	Team      string          `json:"team"`
	Tier      uint8           `json:"tier"`
	Amount    storage.Credits `json:"amount"`
	Charged   storage.Credits `json:"charged"`
	Loss      storage.Credits `json:"loss"`
	Posted    storage.Credits `json:"posted"`
	Held      storage.Credits `json:"held"`
	Overdraft storage.Credits `json:"overdraft"`
	Open      uint64          `json:"open_holds"`
	ExpiresMS int64           `json:"expires_ms"` // 0 but of holds
	Hash      string          `json:"hash"`
}

// exportColumns are the members of an exported line, in the order of CSV's columns.
func exportColumns() []string {
	return []string{
		"position", "account", "seq", "previous", "time_ms", "kind", "request", "reference", "reason", "key", "team", "tier",
		"amount", "charged", "loss", "posted", "held", "overdraft", "open_holds", "expires_ms", "hash",
	}
}

// Exporter writes lines for others to check.
type Exporter struct {
	to   *bufio.Writer
	json *json.Encoder // or
	csv  *csv.Writer
}

// NewExporter begins an export in the format jsonl or csv.
func NewExporter(w io.Writer, format string) (*Exporter, error) {
	x := &Exporter{to: bufio.NewWriterSize(w, 64<<10)}
	switch format {
	case "jsonl":
		x.json = json.NewEncoder(x.to)
		x.json.SetEscapeHTML(false)
		return x, nil
	case "csv":
		x.csv = csv.NewWriter(x.to)
		return x, x.csv.Write(exportColumns())
	}
	return nil, fmt.Errorf("format %.20q is not jsonl or csv", format)
}

// Add writes one line.
func (x *Exporter) Add(e *storage.Entry) error {
	l := exported{
		Position: e.Position, Account: e.Account, Seq: e.Seq, Previous: e.Previous, TimeMS: e.Time.UnixMilli(), Kind: e.Kind.String(),
		Request: e.Request.String(), Reference: e.Reference, Reason: e.Reason, Key: e.Key, Team: e.Team, Tier: e.Tier,
		Amount: e.Amount, Charged: e.Charged, Loss: e.Loss, Posted: e.Posted, Held: e.Held, Overdraft: e.Overdraft, Open: e.Open,
		Hash: hex.EncodeToString(e.Hash[:]),
	}
	if e.Kind == storage.EntryHold {
		l.ExpiresMS = e.Expires.UnixMilli()
	}
	if x.json != nil {
		return x.json.Encode(&l)
	}
	signed := func(n storage.Credits) string { return strconv.FormatInt(int64(n), 10) }
	unsigned := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return x.csv.Write([]string{
		unsigned(l.Position), l.Account, unsigned(l.Seq), unsigned(l.Previous), strconv.FormatInt(l.TimeMS, 10), l.Kind, l.Request,
		l.Reference, l.Reason, l.Key, l.Team, unsigned(uint64(l.Tier)), signed(l.Amount), signed(l.Charged), signed(l.Loss),
		signed(l.Posted), signed(l.Held), signed(l.Overdraft), unsigned(l.Open), strconv.FormatInt(l.ExpiresMS, 10), l.Hash,
	})
}

// Close writes what is left.
func (x *Exporter) Close() error {
	if x.csv != nil {
		x.csv.Flush()
		if err := x.csv.Error(); err != nil {
			return err
		}
	}
	return x.to.Flush()
}
