package record

// GenerationOf is the generation of the snapshot that a decision's record is about. Errors: ErrFormat.
func GenerationOf(data []byte) (generation uint64, err error) {
	r := reader{rest: data}
	version := r.byte()
	if version != decisionVersion && version != withoutConfig {
		return 0, ErrFormat
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
	if generation = r.uvarint(); r.bad {
		return 0, ErrFormat
	}
	return generation, nil
}

func (r *reader) passDigest() {
	if n := r.uvarint(); n == 1 {
		r.take(32)
	} else {
		r.take(n / 2)
	}
}
