package storage

// Place is a place between two requests of the usage log. The zero value is its beginning.
type Place struct {
	Page    uint64 `json:"page"`    // time of a page, in microseconds since 1970
	Ordinal uint16 `json:"ordinal"` // requests of that page that are before the place
	Count   uint64 `json:"count"`   // requests of the whole log that are before it
}
