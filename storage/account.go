package storage

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
)

// AccountTier bounds the model tiers an account may use and carries its markup under the cost-plus tariff.
type AccountTier string

// The account tiers, poorest first.
const (
	TierFree         AccountTier = "free"
	TierStarter      AccountTier = "starter"
	TierProfessional AccountTier = "professional"
	TierEnterprise   AccountTier = "enterprise"
)

// AccountTiers are the account tiers in their order.
func AccountTiers() []AccountTier {
	return []AccountTier{TierFree, TierStarter, TierProfessional, TierEnterprise}
}

// Account is a customer of the gateway. Its credit balance is not here: the ledger alone holds balances.
type Account struct {
	ID           string      `json:"id"` // [a-z0-9][a-z0-9._-]{0,63}
	Tier         AccountTier `json:"tier"`
	DefaultLevel string      `json:"default_power_level"` // eco, balanced or precision
	Created      time.Time   `json:"created"`
	Team         string      `json:"team,omitempty"`      // whose limits hold for it too; "": none
	Overdraft    Credits     `json:"overdraft,omitempty"` // how far below zero what it has available may go, >= 0
	Disabled     string      `json:"disabled,omitempty"`  // why it may do nothing, "" while it may
	Limits       Limits      `json:"limits,omitzero"`
	NoCache      bool        `json:"no_cache,omitempty"` // its answers are neither kept in the response cache nor taken from it
}

// Team is a number of accounts with limits in common.
type Team struct {
	ID       string    `json:"id"` // as of an account
	Name     string    `json:"name,omitempty"`
	Created  time.Time `json:"created"`
	Disabled string    `json:"disabled,omitempty"` // why none of its accounts may do anything, "" while they may
	Limits   Limits    `json:"limits,omitzero"`
}

// Scopes bound what a virtual key may ask for. A nil list allows everything, an empty one nothing.
type Scopes struct {
	Models    []string `json:"models,omitzero"`    // public names
	Tiers     []uint8  `json:"tiers,omitzero"`     // of models
	Policies  []string `json:"policies,omitzero"`  // power levels too, for each is a policy
	Endpoints []string `json:"endpoints,omitzero"` // as in Usage.Endpoint, and "models", "balance", "usage", "decisions", "byok"
}

// VirtualKey is a bearer key of an account. The key itself is shown once and never stored, its hash is.
type VirtualKey struct {
	ID      string    `json:"id"` // "key_" + 16 hex digits
	Account string    `json:"account"`
	Name    string    `json:"name,omitempty"`
	Hint    string    `json:"hint"` // "pm-…" + last four characters
	Hash    KeyHash   `json:"hash"`
	Created time.Time `json:"created"`
	Revoked time.Time `json:"revoked,omitzero"` // zero while the key is valid

	Expires  time.Time `json:"expires,omitzero"`   // zero: never
	Disabled string    `json:"disabled,omitempty"` // why it may do nothing, "" while it may
	Scopes   Scopes    `json:"scopes,omitzero"`
	Limits   Limits    `json:"limits,omitzero"`
	// Replaces is the id of the key that this one was made to replace, which expires after the overlap; "" for none. The spender of both
	// is the first of them, so that a rotation fills no budget again.
	Replaces string `json:"replaces,omitempty"`
	Spends   string `json:"spends,omitempty"`   // id of the key whose budgets it uses; "": its own
	NoCache  bool   `json:"no_cache,omitempty"` // as of an account
}

// KeyHash is HMAC-SHA-256(pepper, key) of a virtual key's text. In JSON it is 64 hex digits.
type KeyHash [32]byte

// MarshalJSON returns the digits in quotes.
func (h KeyHash) MarshalJSON() ([]byte, error) {
	return append(hex.AppendEncode([]byte{'"'}, h[:]), '"'), nil
}

// UnmarshalJSON reads what MarshalJSON returns, and an array of 32 numbers, which records had once and which takes several times as long.
func (h *KeyHash) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[32]byte)(h))
	}
	if len(text) != len(`""`)+hex.EncodedLen(len(h)) || text[0] != '"' {
		return errors.New("a key's hash is not 64 hex digits")
	}
	_, err := hex.Decode(h[:], text[1:len(text)-1])
	return err
}

// SpendsAs is the id of the key whose budgets and rate limits the key uses: that of the first of a row of rotations.
func (k *VirtualKey) SpendsAs() string { return cmp.Or(k.Spends, k.ID) }

// ProviderKey is an account's own key at a provider (BYOK), encrypted. Sealed can be opened only with the same
// (Account, Provider, ID, Version), which are its additional authenticated data.
type ProviderKey struct {
	Account  string    `json:"account"`
	Provider string    `json:"provider"`
	ID       string    `json:"id"` // "byok_" + 16 hex digits, new at every replacement
	Version  uint32    `json:"version"`
	Hint     string    `json:"hint"` // last four characters of the key, "" for keys under 12 characters
	Sealed   []byte    `json:"sealed"`
	Created  time.Time `json:"created"`
}
