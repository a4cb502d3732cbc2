package storage

import "time"

// Place is a place between two requests of the usage log. The zero value is its beginning.
type Place struct {
	Page    uint64 `json:"page"`    // time of a page, in microseconds since 1970
	Ordinal uint16 `json:"ordinal"` // requests of that page that are before the place
	Count   uint64 `json:"count"`   // requests of the whole log that are before it
}

// Alert tells that something needs the operator's attention, such as a budget that is nearly used up.
type Alert struct {
	ID        string    `json:"id"` // the same for the same cause: receivers tell repetitions by it
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"` // such as "budget_threshold"
	Spender   Spender   `json:"spender,omitempty"`
	Account   string    `json:"account,omitempty"`
	Period    Period    `json:"period"`
	Tier      *uint8    `json:"tier,omitempty"`
	Threshold int       `json:"threshold_percent,omitempty"`
	Spent     Credits   `json:"spent_microcredits"`
	Budget    Credits   `json:"budget_microcredits"`
	Message   string    `json:"message,omitempty"`
}
