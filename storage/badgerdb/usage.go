package badgerdb

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/fields"
)

// usageVersion is the first byte of every stored usage record.
const usageVersion = 3

// outcomes are stored by their index; 0 stands for a text that follows. Never reorder.
var outcomes = [...]storage.Outcome{
	"", storage.OutcomeOK, storage.OutcomeClientAbort, storage.OutcomeUpstreamAbort, storage.OutcomeUpstreamError,
	storage.OutcomeRejected, storage.OutcomeInterrupted,
}

// Bits of a usage record's flags.
const (
	flagStream = 1 << iota
	flagBYOK
	flagSimulated
	flagEstimated
	flagPackedKey // the key is "key_" and 16 hex digits, kept as 8 bytes
	flagSuspect
	flagCacheHit
)

// AppendUsage encodes a usage record without its request id:
//
//	u8 version 3, u8 flags, u8 outcome; the outcome's text if that is 0; 8 bytes of a key key_<16 digits>, else the key's text
//	texts: account, team, model, provider, power level, policy, endpoint, error code, client id, service tier, price version
//	varints: status, attempts, input, output, cached and reasoning tokens, cache writes, those for 1 h and for 12 h, audio and image
//	input, audio and image output, micro-credits, nano-USD of cost, what the listed cost is above it, reported cost, saved cost,
//	nanoseconds of TTFT, latency and overhead
//
// Texts stand behind their length, a uvarint. The flags are stream, BYOK, simulated, estimated, packed key, suspect, cache hit.
func AppendUsage(b []byte, u *storage.Usage) []byte {
	flags := byte(0)
	for i, set := range [...]bool{u.Stream, u.BYOK, u.Simulated, u.Estimated} {
		if set {
			flags |= 1 << i
		}
	}
	if u.Suspect {
		flags |= flagSuspect
	}
	packed := packKey(u.Key)
	if packed != nil {
		flags |= flagPackedKey
	}
	if u.Cache == storage.CacheHit {
		flags |= flagCacheHit
	}
	outcome := byte(0)
	for i, o := range outcomes {
		if o == u.Outcome {
			outcome = byte(i)
		}
	}
	b = append(b, usageVersion, flags, outcome)
	if outcome == 0 {
		b = fields.AppendText(b, string(u.Outcome))
	}
	if packed != nil {
		b = append(b, packed...)
	} else {
		b = fields.AppendText(b, u.Key)
	}
	for _, text := range [...]string{
		u.Account, u.Team, u.Model, u.Provider, u.PowerLevel, u.Policy, u.Endpoint, u.ErrorCode, u.ClientID, u.ServiceTier, u.PriceVersion,
	} {
		b = fields.AppendText(b, text)
	}
	for _, n := range [...]int64{
		int64(u.Status), int64(u.Attempts), u.InputTokens, u.OutputTokens, u.CachedTokens, u.Reasoning,
		u.CacheWrite, u.CacheWrite1h, u.CacheWrite12h, u.AudioInput, u.ImageInput, u.AudioOutput, u.ImageOutput,
		int64(u.Credits), int64(u.CostUSD), int64(u.ListedUSD - u.CostUSD), int64(u.ReportedUSD), int64(u.SavedUSD), int64(u.TTFT), int64(u.Latency), int64(u.Overhead),
	} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// DecodeUsage reads what AppendUsage wrote.
func DecodeUsage(id storage.RequestID, value []byte) (u storage.Usage, err error) {
	err = DecodeUsageInto(&u, id, value, nil)
	return u, err
}

// Texts is texts that records have in common, so that reading many of them makes each once. Nil makes each anew.
type Texts map[string]string

// maxTexts bounds the texts that are kept.
const maxTexts = 1 << 16

func (t Texts) of(b []byte) string {
	if text, ok := t[string(b)]; ok {
		return text
	}
	text := string(b)
	if t != nil && len(t) < maxTexts {
		t[text] = text
	}
	return text
}

// DecodeUsageInto reads what AppendUsage wrote into u, with texts out of common, which may be nil.
func DecodeUsageInto(u *storage.Usage, id storage.RequestID, value []byte, common Texts) error {
	r := fields.Reader{Rest: value}
	if v := r.Byte(); v != usageVersion {
		return fmt.Errorf("usage record has unknown version %d", v)
	}
	flags, outcome := r.Byte(), r.Byte()
	*u = storage.Usage{Request: id}
	u.Stream, u.BYOK = flags&flagStream != 0, flags&flagBYOK != 0
	u.Simulated, u.Estimated, u.Suspect = flags&flagSimulated != 0, flags&flagEstimated != 0, flags&flagSuspect != 0
	if flags&flagCacheHit != 0 {
		u.Cache = storage.CacheHit
	}
	switch {
	case outcome == 0:
		u.Outcome = storage.Outcome(r.Text())
	case int(outcome) < len(outcomes):
		u.Outcome = outcomes[outcome]
	default:
		return fields.ErrEncoding
	}
	if flags&flagPackedKey != 0 {
		key := [20]byte{'k', 'e', 'y', '_'}
		hex.Encode(key[4:], r.Bytes(8))
		u.Key = common.of(key[:])
	} else {
		u.Key = common.of(r.Sized())
	}
	for _, text := range [...]*string{
		&u.Account, &u.Team, &u.Model, &u.Provider, &u.PowerLevel, &u.Policy, &u.Endpoint, &u.ErrorCode, &u.ClientID, &u.ServiceTier, &u.PriceVersion,
	} {
		if b := r.Sized(); text == &u.ClientID { // has hardly anything in common
			*text = string(b)
		} else {
			*text = common.of(b)
		}
	}
	u.Status, u.Attempts = int(r.Varint()), int(r.Varint())
	for _, n := range [...]*int64{
		&u.InputTokens, &u.OutputTokens, &u.CachedTokens, &u.Reasoning,
		&u.CacheWrite, &u.CacheWrite1h, &u.CacheWrite12h, &u.AudioInput, &u.ImageInput, &u.AudioOutput, &u.ImageOutput,
	} {
		*n = r.Varint()
	}
	u.Credits, u.CostUSD = storage.Credits(r.Varint()), storage.NanoUSD(r.Varint())
	u.ListedUSD, u.ReportedUSD = u.CostUSD+storage.NanoUSD(r.Varint()), storage.NanoUSD(r.Varint())
	u.SavedUSD = storage.NanoUSD(r.Varint())
	for _, d := range [...]*time.Duration{&u.TTFT, &u.Latency, &u.Overhead} {
		*d = time.Duration(r.Varint())
	}
	return r.End()
}

// packKey returns the 8 bytes of a key id in its usual form, else nil.
func packKey(key string) []byte {
	digits, ok := strings.CutPrefix(key, "key_")
	if !ok || len(digits) != 16 || strings.ToLower(digits) != digits {
		return nil
	}
	packed, err := hex.DecodeString(digits)
	if err != nil {
		return nil
	}
	return packed
}
