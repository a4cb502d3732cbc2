package policy

// Published is one generation with its encoding, made once and shared by all requests. It is immutable.
type Published struct {
	Snapshot
	Bytes []byte // AppendSnapshot of the snapshot
}

// Publish encodes a snapshot, which must not change afterwards.
func Publish(s Snapshot) *Published {
	return &Published{Snapshot: s, Bytes: AppendSnapshot(nil, &s)}
}
