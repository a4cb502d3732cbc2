package admin

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

func (a *api) accountRoutes(table engine.Routes) {
	table["/api/v1/admin/accounts"] = engine.Methods{"GET": a.admin(a.listAccounts), "POST": a.admin(a.createAccount)}
	table["/api/v1/admin/accounts/"] = engine.Methods{"GET": a.admin(a.account), "PATCH": a.admin(a.updateAccount), "POST": a.admin(a.grant)}
	table["/api/v1/admin/teams"] = engine.Methods{"GET": a.admin(a.listTeams), "POST": a.admin(a.createTeam)}
	table["/api/v1/admin/teams/"] = engine.Methods{"GET": a.admin(a.team), "PATCH": a.admin(a.updateTeam), "DELETE": a.admin(a.deleteTeam)}
	table["/api/v1/admin/keys"] = engine.Methods{"GET": a.admin(a.listKeys), "POST": a.admin(a.createKey)}
	table["/api/v1/admin/keys/"] = engine.Methods{"GET": a.admin(a.showOneKey), "PATCH": a.admin(a.updateKey), "POST": a.admin(a.rotateKey), "DELETE": a.admin(a.revokeKey)}
}

// accountBody is what an account is made from, and changed to.
type accountBody struct {
	Tier         optional[storage.AccountTier] `json:"tier"`
	DefaultLevel optional[string]              `json:"default_power_level"`
	Team         optional[string]              `json:"team"`
	Overdraft    optional[string]              `json:"overdraft"`
	Disabled     optional[string]              `json:"disabled"`
	Limits       optional[limitsBody]          `json:"limits"`
	NoCache      optional[bool]                `json:"no_cache"`

	overdraft storage.Credits
}

func (b *accountBody) check() *engine.Fault {
	if b.Overdraft.value != nil {
		var err error
		if b.overdraft, err = storage.ParseCredits(*b.Overdraft.value); err != nil || b.overdraft < 0 || b.overdraft > maxGrant {
			return invalid("overdraft", `must be a decimal string from "0" to "1000000000", with at most 6 fractional digits`)
		}
	}
	if f := tooLong("disabled", b.Disabled, maxReason); f != nil {
		return f
	}
	if b.Limits.value != nil {
		return b.Limits.value.check()
	}
	return nil
}

func (b *accountBody) apply(to *storage.Account) {
	b.Tier.set(&to.Tier)
	b.DefaultLevel.set(&to.DefaultLevel)
	b.Team.set(&to.Team)
	b.Disabled.set(&to.Disabled)
	b.NoCache.set(&to.NoCache)
	if b.Overdraft.given {
		to.Overdraft = b.overdraft
	}
	changeLimits(&b.Limits, &to.Limits)
}

// accountEntry is an account as the API shows it.
type accountEntry struct {
	ID           string      `json:"id"`
	Tier         string      `json:"tier"`
	DefaultLevel string      `json:"default_power_level"`
	Created      string      `json:"created"`
	Team         *string     `json:"team"`
	Disabled     *string     `json:"disabled"`
	Overdraft    string      `json:"overdraft"`
	Remaining    string      `json:"credits_remaining"`
	Held         string      `json:"credits_held"`
	Limits       limitsEntry `json:"limits"`
	NoCache      bool        `json:"no_cache"`
	Standings    []standing  `json:"budget_standings,omitempty"`
}

func (a *api) entryOf(account storage.Account) (accountEntry, error) {
	b, err := a.Ledger.Balance(account.ID)
	return accountEntry{
		ID: account.ID, Tier: string(account.Tier), DefaultLevel: account.DefaultLevel, Created: account.Created.UTC().Format(time.RFC3339),
		Team: orNull(account.Team), Disabled: orNull(account.Disabled), Overdraft: account.Overdraft.String(),
		Remaining: b.Available().String(), Held: b.Held.String(),
		Limits: showLimits(account.Limits), NoCache: account.NoCache, Standings: a.standings(storage.SpenderAccount, account.ID, account.Limits.Budgets),
	}, err
}

// answerAccount shows an account, or says what went wrong with it.
func (a *api) answerAccount(ctx *fasthttp.RequestCtx, status int, account storage.Account, err error) {
	var entry accountEntry
	if err == nil {
		entry, err = a.entryOf(account)
	}
	if err != nil {
		a.refuse(ctx, err, "id")
		return
	}
	engine.WriteJSON(ctx, status, entry)
}

func (a *api) createAccount(ctx *fasthttp.RequestCtx) {
	var body struct {
		ID string `json:"id"`
		accountBody
	}
	if f := read(ctx, &body, body.check); f != nil {
		f.Write(ctx)
		return
	}
	account := storage.Account{ID: body.ID}
	body.apply(&account)
	account, err := a.Directory.CreateAccount(account)
	a.answerAccount(ctx, fasthttp.StatusCreated, account, err)
}

func (a *api) updateAccount(ctx *fasthttp.RequestCtx) {
	var body accountBody
	if f := read(ctx, &body, body.check); f != nil {
		f.Write(ctx)
		return
	}
	account, err := a.Directory.UpdateAccount(engine.Part(ctx), body.apply)
	a.answerAccount(ctx, fasthttp.StatusOK, account, err)
}

func (a *api) account(ctx *fasthttp.RequestCtx) {
	account, err := a.Directory.Account(engine.Part(ctx))
	a.answerAccount(ctx, fasthttp.StatusOK, account, err)
}

func (a *api) listAccounts(ctx *fasthttp.RequestCtx) {
	list := []accountEntry{}
	for _, account := range a.Directory.Accounts() {
		entry, err := a.entryOf(account)
		if err != nil {
			a.refuse(ctx, err, "")
			return
		}
		list = append(list, entry)
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": list})
}

// read reads a body and checks it.
func read(ctx *fasthttp.RequestCtx, body any, check func() *engine.Fault) *engine.Fault {
	if f := engine.ReadJSON(ctx, body); f != nil {
		return f
	}
	return check()
}

// teamBody is what a team is made from, and changed to.
type teamBody struct {
	Name     optional[string]     `json:"name"`
	Disabled optional[string]     `json:"disabled"`
	Limits   optional[limitsBody] `json:"limits"`
}

func (b *teamBody) check() *engine.Fault {
	if f := tooLong("name", b.Name, maxName); f != nil {
		return f
	}
	if f := tooLong("disabled", b.Disabled, maxReason); f != nil {
		return f
	}
	if b.Limits.value != nil {
		return b.Limits.value.check()
	}
	return nil
}

func (b *teamBody) apply(to *storage.Team) {
	b.Name.set(&to.Name)
	b.Disabled.set(&to.Disabled)
	changeLimits(&b.Limits, &to.Limits)
}

// teamEntry is a team as the API shows it.
type teamEntry struct {
	ID        string      `json:"id"`
	Name      string      `json:"name"`
	Created   string      `json:"created"`
	Disabled  *string     `json:"disabled"`
	Accounts  int         `json:"accounts"` // how many
	Limits    limitsEntry `json:"limits"`
	Standings []standing  `json:"budget_standings,omitempty"`
}

func (a *api) showTeam(t storage.Team) teamEntry {
	_, accounts, _ := a.Directory.Team(t.ID) // of a team that was deleted just now there are none
	return teamEntry{
		ID: t.ID, Name: t.Name, Created: t.Created.UTC().Format(time.RFC3339), Disabled: orNull(t.Disabled), Accounts: accounts,
		Limits: showLimits(t.Limits), Standings: a.standings(storage.SpenderTeam, t.ID, t.Limits.Budgets),
	}
}

func (a *api) answerTeam(ctx *fasthttp.RequestCtx, status int, t storage.Team, err error) {
	if err != nil {
		a.refuse(ctx, err, "id")
		return
	}
	engine.WriteJSON(ctx, status, a.showTeam(t))
}

func (a *api) createTeam(ctx *fasthttp.RequestCtx) {
	var body struct {
		ID string `json:"id"`
		teamBody
	}
	if f := read(ctx, &body, body.check); f != nil {
		f.Write(ctx)
		return
	}
	t := storage.Team{ID: body.ID}
	body.apply(&t)
	t, err := a.Directory.CreateTeam(t)
	a.answerTeam(ctx, fasthttp.StatusCreated, t, err)
}

func (a *api) updateTeam(ctx *fasthttp.RequestCtx) {
	var body teamBody
	if f := read(ctx, &body, body.check); f != nil {
		f.Write(ctx)
		return
	}
	t, err := a.Directory.UpdateTeam(engine.Part(ctx), body.apply)
	a.answerTeam(ctx, fasthttp.StatusOK, t, err)
}

func (a *api) team(ctx *fasthttp.RequestCtx) {
	t, _, err := a.Directory.Team(engine.Part(ctx))
	a.answerTeam(ctx, fasthttp.StatusOK, t, err)
}

func (a *api) listTeams(ctx *fasthttp.RequestCtx) {
	list := []teamEntry{}
	for _, t := range a.Directory.Teams() {
		list = append(list, a.showTeam(t))
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": list})
}

func (a *api) deleteTeam(ctx *fasthttp.RequestCtx) {
	if err := a.Directory.DeleteTeam(engine.Part(ctx)); err != nil {
		a.refuse(ctx, err, "id")
		return
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
}
