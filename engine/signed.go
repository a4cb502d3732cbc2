package engine

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
)

// signerSlots is how many signatures are remembered, at eight bytes each.
const signerSlots = 1 << 15

// signers remembers which model signed which thinking: models refuse signatures that are not their own, and a conversation may
// move from one to another. It is a table of fixed size in which a signature may displace another. A signature that is not
// there counts as foreign to every model but one that the request names itself. Safe for concurrent use.
type signers struct {
	seed  maphash.Seed
	slots [signerSlots]atomic.Uint64 // 48 bits of a signature's hash, 16 of the number of its model, which counts from 1 here
}

func (s *signers) slot(signature []byte) (slot *atomic.Uint64, hash uint64) {
	sum := maphash.Bytes(s.seed, signature)
	return &s.slots[sum%signerSlots], sum &^ 0xffff
}

// note remembers that a model signed.
func (s *signers) note(signature []byte, m *catalog.Model) {
	slot, hash := s.slot(signature)
	slot.Store(hash | uint64(m.Number+1))
}

// by tells whether a model signed, and whether anybody is known to have.
func (s *signers) by(signature []byte, m *catalog.Model) (signed, known bool) {
	slot, hash := s.slot(signature)
	found := slot.Load()
	if found&^0xffff != hash || found&0xffff == 0 {
		return false, false
	}
	return found&0xffff == uint64(m.Number+1), true
}

// ownThinking takes out of the request, which is about to be sent in dialect d, the signed thinking of other models than the one
// that is asked. A turn that loses it while its tool calls are being answered cannot be thought on: thinking is switched off
// where it would be refused. signs tells that the provider's models sign all they think.
func (e *Engine) ownThinking(c *call, a *answer, w wording, d dialect.Dialect, signs bool) {
	if !w.env.HasThinking() {
		return
	}
	m := a.deployment.Model
	body, dropped, loop := d.DropSigned(nil, c.scratch, func(signature []byte) bool {
		if len(signature) == 0 { // another model's, put into this form; Anthropic refuses it, others do not sign
			return !signs
		}
		signed, known := e.signers.by(signature, m)
		return signed || !known && c.model == m
	})
	if dropped == 0 {
		return
	}
	c.scratch = body
	switch d {
	case dialect.Messages:
		a.dropped = append(a.dropped, "messages[].content[].thinking")
		if loop {
			c.scratch = dialect.DropMember(nil, body, "thinking")
			a.dropped = append(a.dropped, "thinking")
		}
	case dialect.Responses:
		a.dropped = append(a.dropped, "input[].encrypted_content")
	default:
		a.dropped = append(a.dropped, "messages[].thinking_blocks")
	}
}

// noteSigned remembers who signed the thinking in an answer, or in the next event of one.
func (e *Engine) noteSigned(a *answer, d dialect.Dialect, info *dialect.Chunk, data []byte) {
	if info.Unsigned {
		return
	}
	a.signed.Add(d, data, func(signature []byte) { e.signers.note(signature, a.deployment.Model) })
}
