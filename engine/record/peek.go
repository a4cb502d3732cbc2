package record

import "github.com/pointsman/pointsman/sdk/abi"

// Head is what tells the candidates that a decision is about: the generation of the snapshot, and which part of it, see [Shortlists].
type Head struct {
	Generation uint64
	Level      uint8
	Model      uint16
	Options    int
}

// HeadOf is the head of a decision's record. Errors: ErrFormat.
func HeadOf(data []byte) (h Head, err error) {
	r := reader{rest: data}
	version := r.byte()
	if version != decisionVersion && version != withoutConfig {
		return h, ErrFormat
	}
	r.byte()
	r.sized()
	r.passDigest()
	if version == decisionVersion {
		r.passDigest()
		r.uvarint()
		r.uvarint()
	}
	r.sized()
	h.Generation = r.uvarint()
	r.fixed64() // seed
	h.Level = r.byte()
	r.take(5)
	h.Model = uint16(r.below(1 << 16))
	for range 4 {
		r.uvarint()
	}
	r.varint()  // credits
	r.fixed64() // session
	r.uvarint() // state
	r.sized()   // text
	r.sized()   // metadata
	if h.Options = int(r.below(abi.MaxCandidates + 1)); r.bad {
		return Head{}, ErrFormat
	}
	return h, nil
}

func (r *reader) passDigest() {
	if n := r.uvarint(); n == 1 {
		r.take(32)
	} else {
		r.take(n / 2)
	}
}
