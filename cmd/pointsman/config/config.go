// Package config reads the gateway's TOML file and environment into one checked [Config]. It creates nothing: commands
// hand the parts to the packages they belong to.
//
// The file is read strictly. An unknown key, a value of the wrong type and a value that cannot work are all reported,
// each with file, line, column, the line in question and, for a misspelt name, the nearest right one. Strings may refer
// to the environment as ${NAME}; "$${" stands for a literal "${". Values of secrets appear in no message.
package config

import (
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/policies/signing"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// Config is the whole configuration, defaults filled in. Treat it as read-only after [Load].
type Config struct {
	File           string // where it was read from, "" for none
	WholeLines     bool   // the file ends with the end of a line, as one does not that is written in part
	Server         Server
	Providers      []Provider      // built-in ones in fixed order, then those of the file in its order
	BuiltinCatalog bool            // [catalog] builtin
	Models         []catalog.Entry // built-in ones first; one named in the file stands in the built-in one's place
	Prices         Prices
	Tariff         Tariff
	Accounts       Accounts
	Budgets        Budgets
	Simulator      Simulator
	Policies       []Policy      // in file order
	Trust          signing.Trust // whose policies are accepted
	Rounds         Rounds
	Plugins        []Plugin // in file order
	Storage        Storage
	Vault          Vault
	Log            Log
	Events         Events
	Ledger         Ledger
	Health         Health
	Retries        Retries
	Hedge          Hedge
	Limits         Limits
	Overload       Overload
	Cache          Cache
	Warnings       []string // what works but is probably not meant, each with file:line:column

	fileModels map[string]bool   // names of models declared in the file
	references map[string]string // see document.references
}

// Server is the [server] table.
type Server struct {
	Listen       string // host:port of the API
	AdminListen  string // host:port of the admin API and metrics
	MaxBodyBytes int    // largest request body, also once it is decoded
	// TLSCert and TLSKey are the paths of a certificate with its chain and of its key, absolute; both or neither is given.
	TLSCert, TLSKey string
	CORSOrigins     []string // origins whose pages may use the API; "*" alone stands for any
	// KeepAliveAfter is how long a stream waits for its answer to begin before it is kept alive, and KeepAliveEvery how long it
	// may then be silent.
	KeepAliveAfter, KeepAliveEvery time.Duration
	Watch                          bool // the file is read again when it changes
	// DrainDelay is how long a gateway that is told to stop takes requests as before, though it says that it is not ready, and
	// DrainLimit how long after that the requests under way may go on.
	DrainDelay, DrainLimit time.Duration
}

// Provider is one [providers.NAME] table merged over the built-in provider of that name.
type Provider struct {
	Name         string
	Adapter      string // a built-in adapter's or a plugin's name
	BaseURL      string // no trailing slash; "" leaves it to the adapter
	URLSource    string // "file", the environment variable's name, or "" for the default
	APIKey       adapter.Secret
	KeySource    string            // "file", the environment variable's name, or "" if there is no key
	KeyRequired  bool              // without a key, platform or own, the provider cannot be used
	AllowPrivate bool              // may connect to loopback and private addresses
	Local        bool              // runs on the operator's own machines: fit for private requests
	Settings     map[string]string // for the adapter; may hold secrets: never print it
	Timeouts     catalog.Timeouts
	Builtin      bool     // one of the nine
	Probe        []string // base URLs to try, best first, before the provider can be used; empty: BaseURL is certain
	// NoCollection says that the provider does not keep or train on what it is sent, ZeroRetention that it keeps nothing at
	// all: what callers can ask for by provider.data_collection and provider.zdr.
	NoCollection, ZeroRetention bool
	ProviderTools               bool // callers may buy with the platform's key what is not charged: tools that the provider runs
}

// Retries is the [retries] table.
type Retries struct {
	Attempts        int           // of a request, beyond which nothing is tried again
	Pause, MaxPause time.Duration // before what is tried again
	Percent         int           // of a provider's requests that may be repetitions
}

// Hedge is the [hedge] table.
type Hedge struct {
	Mode    string // off, plan or always
	Percent int    // of a provider's requests that may be second copies
}

// Health is the [health] table.
type Health struct {
	Probe string // which providers are probed without traffic: down, unknown or off
}

// Accounts is the [accounts] table: what a new account gets.
type Accounts struct {
	DefaultCredits    storage.Credits
	DefaultTier       storage.AccountTier
	DefaultPowerLevel string // eco, balanced or precision
}

// Budgets is the [budgets] table.
type Budgets struct {
	AlertAt []int // percent of a budget at which the operator is told, ascending
}

// Simulator is the [simulator] table.
type Simulator struct {
	Enabled bool
}

// Rounds is what [policies] says about all of them.
type Rounds struct {
	CheckEvery  int             // one in so many decisions is repeated on a fresh instance and compared; 0: none
	Credits     storage.Credits // that the rounds of a request before its last may cost in all; 0: what the account has
	RecordTexts bool            // keep granted texts in decision records, so that such decisions can be repeated
}

// Policy is one [policies.NAME] table.
type Policy struct {
	Name   string
	File   string // the module, absolute, "" for the built-in one of that name; relative paths in the file start at its directory
	Params string // configuration text as sdk/abi describes it
	// Private says that Params may hold a secret: a value is taken from the environment, or has a name like one. Then they are kept
	// nowhere.
	Private bool
	Grants  uint32 // abi.Grant* bits
	Fuel    int64  // of one decision for each 64 candidates; 0: the default
	// Shortlist is how many candidates of a larger catalog it is asked about; 0: all of them.
	Shortlist int
	// ShadowOf is the policy beside which this one decides without being followed, "" for none, and Share the part of its requests.
	ShadowOf string
	Share    float64
	// Signature is the path of the module's signature, absolute. SignatureGiven tells that the file names it: then it must
	// exist. Otherwise it is File with .minisig behind, "" without a file.
	Signature      string
	SignatureGiven bool
	Place          string // where the table stands, "file:line:column", for messages
}

// Plugin is one [plugins.NAME] table.
type Plugin struct {
	Name   string
	Path   string // the executable, absolute; relative paths in the file start at its directory
	SHA256 string // 64 lower-case hex digits
	Args   []string
	Env    []string // names of the variables of the gateway's environment that it gets
	// Adapters are the adapters it holds that providers may name: its own name if the file does not say.
	Adapters  []string
	MemoryMB  int      // 0: the default
	ReadPaths []string // what it may read beside the system's own and, for a script, its directory; absolute
	// WritePaths is what it may write. Processes lets it start processes, PlainSocket goes without mutual TLS.
	WritePaths             []string
	Processes, PlainSocket bool
	Unconfined             bool // the file system is open to it
}

// Storage is the [storage] table.
type Storage struct {
	LogDays   int // days that usage logs are kept
	MemoryMB  int // write buffers of each database under load, in MiB
	MinFreeMB int // low-water mark of the disk, in MiB; 0: none
	BallastMB int // size of the file that makes room at the mark, in MiB; 0: none
}

// Ledger is the [ledger] table.
type Ledger struct {
	VerifyEvery   time.Duration // how often all of the ledger is proven while it works; 0: only on demand
	VerifyPercent int           // of one processor that this takes at most
	Durability    string        // normal, or [DurabilityStrict]
}

// Cache is the [cache] table: answers that are kept to be given again.
type Cache struct {
	Enabled        bool
	TTL            time.Duration
	MaxMB          int      // of all answers
	MaxEntryKB     int      // of one answer, there and of those with an idempotency key
	Scope          string   // who shares answers: account, key or team
	HitPrice       uint32   // what a hit costs, in millionths of what the answer cost
	AnyTemperature bool     // answers to requests with a temperature above 0 are kept too
	IgnoreFields   []string // of bodies, that make no difference
	Coalesce       bool     // requests wait for the answer to the same one that is under way; without Enabled too
	IdempotencyMB  int      // of answers to requests with an idempotency key; 0: such keys are not heeded
}

// Provider finds a provider by name, nil if there is none.
func (c *Config) Provider(name string) *Provider {
	for i := range c.Providers {
		if c.Providers[i].Name == name {
			return &c.Providers[i]
		}
	}
	return nil
}

// Usable says whether the provider can be called with the platform's means alone: it has its key or needs none. One with
// Probe addresses also has to answer at one of them.
func (p *Provider) Usable() bool { return p.APIKey.IsSet() || !p.KeyRequired }
