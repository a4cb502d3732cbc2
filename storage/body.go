package storage

// Body is what was sent and answered in a request, kept apart from its usage where the operator wants it.
type Body struct {
	Request  RequestID `json:"request"`
	ClientID string    `json:"client_id,omitempty"`
	Account  string    `json:"account"`
	Sent     []byte    `json:"sent"`     // by the client
	Answered []byte    `json:"answered"` // to it
	Cut      bool      `json:"cut"`      // one of them was longer than what is kept
}
