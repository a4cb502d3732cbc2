package directory

import (
	"cmp"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/storage"
)

// What an account may have as its tier and its default power level.
var (
	tiers  = []storage.AccountTier{storage.TierFree, storage.TierStarter, storage.TierProfessional, storage.TierEnterprise}
	levels = []string{"eco", "balanced", "precision"}
)

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// enter gives the account a state and keeps count of its team's accounts.
func (a *account) enter(s *accountState) {
	old := a.state.Swap(s)
	if old != nil && old.team != nil {
		old.team.size.Add(-1)
	}
	if s.team != nil {
		s.team.size.Add(1)
	}
}

// teamOf is the team of an account, nil if it has none.
func (d *Directory) teamOf(a storage.Account) *team {
	return d.teams.Get(a.Team)
}

// checkAccount refuses an account that cannot be.
func (d *Directory) checkAccount(a storage.Account) error {
	switch {
	case !slices.Contains(tiers, a.Tier):
		return ErrTier
	case !slices.Contains(levels, a.DefaultLevel):
		return ErrLevel
	case a.Team != "" && d.teamOf(a) == nil:
		return ErrTeam
	}
	return nil
}

// CreateAccount adds an account with the opening credits, created now. Empty tier and level take the defaults. Errors: ErrID,
// ErrTier, ErrLevel, ErrTeam, storage.ErrExists.
func (d *Directory) CreateAccount(a storage.Account) (storage.Account, error) {
	a.Created = d.now().UTC()
	defaults := d.defaults.Load()
	a.Tier, a.DefaultLevel = cmp.Or(a.Tier, defaults.Tier), cmp.Or(a.DefaultLevel, defaults.Level)
	if !validID.MatchString(a.ID) {
		return a, ErrID
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts.Get(a.ID) != nil {
		return a, fmt.Errorf("account %s: %w", a.ID, storage.ErrExists)
	}
	if err := d.checkAccount(a); err != nil {
		return a, err
	}
	if err := d.store.accounts.CreateAccount(a, defaults.Credits); err != nil {
		return a, err
	}
	d.addAccount(a, nil)
	return a, nil
}

// UpdateAccount lets change alter an account; its id and the time it was created stay. change must not alter what the record
// refers to, but replace it. Errors: ErrTier, ErrLevel, ErrTeam, storage.ErrNotFound.
func (d *Directory) UpdateAccount(id string, change func(*storage.Account)) (storage.Account, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.accounts.Get(id)
	if a == nil {
		return storage.Account{}, noAccount(id)
	}
	old := a.state.Load()
	next := *old
	change(&next.Account)
	next.ID, next.Created = old.ID, old.Created
	if err := d.checkAccount(next.Account); err != nil {
		return next.Account, err
	}
	if err := d.store.accounts.UpdateAccount(next.Account); err != nil {
		return next.Account, err
	}
	next.team = d.teamOf(next.Account)
	a.enter(&next)
	return next.Account, nil
}

// Account finds an account. Errors: storage.ErrNotFound.
func (d *Directory) Account(id string) (storage.Account, error) {
	a := d.accounts.Get(id)
	if a == nil {
		return storage.Account{}, noAccount(id)
	}
	return a.state.Load().Account, nil
}

// Accounts lists all accounts by id.
func (d *Directory) Accounts() []storage.Account {
	return sorted(d.accounts.All(), func(a *account) storage.Account { return a.state.Load().Account }, func(a storage.Account) string { return a.ID })
}

// CountAccounts is how many accounts there are.
func (d *Directory) CountAccounts() int { return d.accounts.Len() }

func noAccount(id string) error { return fmt.Errorf("account %.64q: %w", id, storage.ErrNotFound) }

// sorted lists records by id.
func sorted[T, R any](all iter.Seq[T], record func(T) R, id func(R) string) []R {
	var out []R
	for one := range all {
		out = append(out, record(one))
	}
	slices.SortFunc(out, func(a, b R) int { return strings.Compare(id(a), id(b)) })
	return out
}

func newTeam(record storage.Team) *team {
	t := &team{}
	t.record.Store(&record)
	return t
}

// CreateTeam adds a team, created now. Errors: ErrID, storage.ErrExists.
func (d *Directory) CreateTeam(t storage.Team) (storage.Team, error) {
	t.Created = d.now().UTC()
	if !validID.MatchString(t.ID) {
		return t, ErrID
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.teams.Get(t.ID) != nil {
		return t, fmt.Errorf("team %s: %w", t.ID, storage.ErrExists)
	}
	if err := d.store.teams.PutTeam(t); err != nil {
		return t, err
	}
	d.teams.Put(newTeam(t))
	return t, nil
}

// UpdateTeam is UpdateAccount for a team. Errors: storage.ErrNotFound.
func (d *Directory) UpdateTeam(id string, change func(*storage.Team)) (storage.Team, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.teams.Get(id)
	if t == nil {
		return storage.Team{}, noTeam(id)
	}
	old := t.record.Load()
	next := *old
	change(&next)
	next.ID, next.Created = old.ID, old.Created
	if err := d.store.teams.PutTeam(next); err != nil {
		return next, err
	}
	t.record.Store(&next)
	return next, nil
}

// DeleteTeam removes a team that has no accounts. Errors: ErrTeamInUse, storage.ErrNotFound.
func (d *Directory) DeleteTeam(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.teams.Get(id)
	if t == nil {
		return noTeam(id)
	}
	if n := t.size.Load(); n > 0 {
		return fmt.Errorf("team %s has %d accounts: %w", id, n, ErrTeamInUse)
	}
	if err := d.store.teams.DeleteTeam(id); err != nil {
		return err
	}
	d.teams.Remove(id)
	return nil
}

// Team finds a team and tells how many accounts it has. Errors: storage.ErrNotFound.
func (d *Directory) Team(id string) (record storage.Team, accounts int, err error) {
	t := d.teams.Get(id)
	if t == nil {
		return record, 0, noTeam(id)
	}
	return *t.record.Load(), int(t.size.Load()), nil
}

// Teams lists all teams by id.
func (d *Directory) Teams() []storage.Team {
	return sorted(d.teams.All(), func(t *team) storage.Team { return *t.record.Load() }, func(t storage.Team) string { return t.ID })
}

func noTeam(id string) error { return fmt.Errorf("team %.64q: %w", id, storage.ErrNotFound) }
