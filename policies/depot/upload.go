package depot

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/signing"
)

// Upload is a module that an operator brings, with what it is to be given.
type Upload struct {
	Name      string
	Module    []byte
	Signature []byte // text of a .minisig file, or nothing
	Params    map[string]string
	Grants    uint32
	Fuel      int64 // 0: the default, or what was signed if that is less
	By        string
}

// Report is what is known of a module that was tried.
type Report struct {
	Version
	State string // StateDry, StateStaged, StateActive or StateKept
	Needs uint32 // abi.Grant* bits
	Limit int64  // fuel it gets
}

// States of a version.
const (
	StateDry    = "validated" // nothing was kept
	StateStaged = "staged"    // kept, tried, compiled; never was active
	StateActive = "active"
	StateKept   = "kept" // was active before
	// StateCandidate: it is being rolled out.
	StateCandidate = "candidate"
)

// Validate tries a module as an upload would, and keeps nothing.
func (d *Depot) Validate(u Upload) (Report, error) {
	d.change.Lock() // one module is compiled at a time, whoever asks
	defer d.change.Unlock()
	report, err := d.try(u)
	report.State = StateDry
	return report, err
}

func (d *Depot) try(u Upload) (Report, error) {
	switch {
	case !validName(u.Name):
		return Report{}, fmt.Errorf("%w: name %.40q must be 1 to %d lower-case letters, digits or -", ErrInvalid, u.Name, MaxName)
	case len(u.Module) == 0:
		return Report{}, fmt.Errorf("%w: the module is empty", ErrInvalid)
	case len(u.Module) > MaxModule:
		return Report{}, fmt.Errorf("%w: the module has %d bytes, more than %d", ErrInvalid, len(u.Module), MaxModule)
	case u.Fuel < 0 || u.Fuel > MaxFuel:
		return Report{}, fmt.Errorf("%w: fuel must be between 1 and %d", ErrInvalid, MaxFuel)
	}
	c := candidate{name: u.Name, source: "upload", wasm: u.Module, signature: u.Signature, params: u.Params, grants: u.Grants, fuel: u.Fuel}
	s, err := d.vouch(c)
	var info policies.Info
	if err == nil {
		info, err = d.prove(c, s.Fuel)
	}
	if err != nil {
		return Report{}, fmt.Errorf("policy %s: %w", u.Name, err)
	}
	v := Version{
		Digest: s.Digest, Size: len(u.Module), Params: u.Params, Grants: u.Grants, Fuel: u.Fuel, Signature: string(u.Signature),
		Signer: s.Signer, About: info.Description, By: u.By,
	}
	return Report{Version: v, Needs: info.Needs, Limit: s.Fuel}, nil
}

// Stage tries a module and keeps it as a version that can be activated at any time. One that is equal to a version that is
// kept already is that version.
func (d *Depot) Stage(u Upload) (Report, error) {
	d.change.Lock()
	defer d.change.Unlock()
	report, err := d.try(u)
	if err != nil {
		d.refuse(candidate{name: u.Name, source: "upload", wasm: u.Module}, ActionUpload, u.By, err)
		return report, err
	}
	next := d.draft()
	r := next.Policies[u.Name]
	for _, v := range r.Versions {
		if v.equal(report.Version) {
			report.Version = v
			report.State = r.state(v.Number)
			return report, nil
		}
	}
	r.Last++
	report.Number, report.Uploaded, report.State = r.Last, d.Now().UTC(), StateStaged
	r.Versions = append(r.Versions, report.Version)
	if err := r.prune(); err != nil {
		return report, err
	}
	next.Policies[u.Name] = r
	if err := keepModule(d.Dir, u.Module); err != nil {
		return report, err
	}
	if err := d.keep(next); err != nil {
		return report, err
	}
	d.tell(Event{Action: ActionUpload, Policy: u.Name, Source: source(report.Number), Version: report.Number, Digest: report.Digest, Signer: report.Signer, By: u.By})
	return report, nil
}

// prune drops the oldest versions that cannot come to serve by a rollback.
func (r *record) prune() error {
	for len(r.Versions) > MaxVersions {
		i := slices.IndexFunc(r.Versions[:len(r.Versions)-1], func(v Version) bool {
			return v.Number != r.Active && v.Number != r.Candidate && !slices.Contains(r.Previous, v.Number)
		})
		if i < 0 { // all are part of the history: forget its oldest end
			if len(r.Previous) == 0 {
				return fmt.Errorf("%w: no version can be dropped", ErrDisk)
			}
			r.Previous = r.Previous[1:]
			continue
		}
		r.Versions = slices.Delete(r.Versions, i, i+1)
	}
	return nil
}

func (v Version) equal(o Version) bool {
	return v.Digest == o.Digest && v.Grants == o.Grants && v.Fuel == o.Fuel && v.Signature == o.Signature && maps.Equal(v.Params, o.Params)
}

func (r record) state(number int) string {
	switch {
	case r.Active == number:
		return StateActive
	case r.Candidate == number:
		return StateCandidate
	case slices.Contains(r.Previous, number):
		return StateKept
	}
	return StateStaged
}

func source(number int) string { return fmt.Sprintf("version %d", number) }

// keep writes a manifest and makes it the one that holds.
func (d *Depot) keep(next manifest) error {
	if err := next.write(d.Dir); err != nil {
		return err
	}
	d.hold(next)
	d.unkept.Store(false)
	return nil
}

// hold makes a manifest the one that holds.
func (d *Depot) hold(next manifest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manifest = next
}

// draft is a copy of the manifest that holds, to be changed.
func (d *Depot) draft() manifest {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.manifest.clone()
}

// Activate makes a version serve. The version is its number, or the beginning of its digest if that fits one alone.
func (d *Depot) Activate(name, version, by string) (Report, error) {
	d.change.Lock()
	defer d.change.Unlock()
	next := d.draft()
	r := next.Policies[name]
	v, err := r.pick(name, version)
	if err != nil {
		return Report{}, err
	}
	if r.Candidate > 0 {
		return Report{}, r.busy(name)
	}
	r.activate(v.Number)
	next.Policies[name] = r
	return d.turn(name, next, ActionActivate, by, "")
}

// activate makes a version the one that serves.
func (r *record) activate(number int) {
	if r.Active == number {
		return
	}
	r.Previous = append(r.Previous, r.Active)
	if most := MaxVersions - 1; len(r.Previous) > most {
		r.Previous = r.Previous[len(r.Previous)-most:]
	}
	r.Active = number
}

func (r *record) busy(name string) error {
	return fmt.Errorf("%w: version %d of policy %s is compared with what serves; promote or abort that first", ErrBusy, r.Candidate, name)
}

// Rollback makes that serve which served before the last activation: a version, or the built-in one.
func (d *Depot) Rollback(name, by string) (Report, error) {
	d.change.Lock()
	defer d.change.Unlock()
	next := d.draft()
	r := next.Policies[name]
	if r.Candidate > 0 {
		return Report{}, r.busy(name)
	}
	last := len(r.Previous) - 1
	if last < 0 {
		return Report{}, fmt.Errorf("%w: policy %s was never activated, there is nothing to go back to", ErrUnknown, name)
	}
	r.Active, r.Previous = r.Previous[last], r.Previous[:last]
	next.Policies[name] = r
	return d.turn(name, next, ActionRollback, by, "")
}

// pick finds a version by number or digest.
func (r record) pick(name, version string) (Version, error) {
	var found []Version
	for _, v := range r.Versions {
		if fmt.Sprint(v.Number) == version || len(version) >= 6 && strings.HasPrefix(v.Digest, strings.ToLower(version)) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return Version{}, fmt.Errorf("%w: policy %s has no version %.70q; it has %s", ErrUnknown, name, version, r.numbers())
	case 1:
		return found[0], nil
	}
	return Version{}, fmt.Errorf("%w: policy %s has %d versions %.70q; give the number", ErrInvalid, name, len(found), version)
}

func (r record) numbers() string {
	var all []string
	for _, v := range r.Versions {
		all = append(all, fmt.Sprint(v.Number))
	}
	return cmp.Or(strings.Join(all, ", "), "none")
}

// turn makes the active version of the next manifest serve, and the manifest hold. First everything is tried, then the
// manifest is written, then the module takes over: what fails before leaves all as it was, and what was answered survives.
func (d *Depot) turn(name string, next manifest, action, by, note string) (Report, error) {
	if entry, ok := d.entry(name); ok && entry.File != "" {
		return Report{}, fmt.Errorf("%w: %s names %s for policy %s", ErrPinned, entry.Place, entry.File, name)
	}
	var c candidate
	var err error
	v := next.active(name)
	if v != nil {
		c, err = d.fromVersion(name, *v)
	} else {
		var ok bool
		if c, ok = d.builtin(name); !ok {
			return d.turnOff(name, next, by)
		}
	}
	var s Serving
	if err == nil {
		s, err = d.vouch(c)
	}
	var info policies.Info
	if err == nil {
		info, err = d.prove(c, s.Fuel)
	}
	if err != nil {
		d.refuse(c, action, by, err)
		return Report{}, fmt.Errorf("policy %s: %w", name, err)
	}
	d.mu.RLock()
	before := d.manifest
	d.mu.RUnlock()
	if err := d.keep(next); err != nil {
		return Report{}, err
	}
	if err := d.serve(c, action, by, note); err != nil {
		if back := d.keep(before); back != nil {
			err = fmt.Errorf("%w; and it is still written down as active: %w", err, back)
		}
		return Report{}, err
	}
	report := Report{State: StateActive, Needs: info.Needs, Limit: s.Fuel}
	if v != nil {
		report.Version = *v
	} else {
		report.Version = Version{Digest: s.Digest, Size: len(c.wasm), Params: c.params, Grants: c.grants, About: info.Description}
	}
	return report, nil
}

// turnOff rolls back the first activation of a policy that is not built in: it is gone then.
func (d *Depot) turnOff(name string, next manifest, by string) (Report, error) {
	if err := d.keep(next); err != nil {
		return Report{}, err
	}
	d.unload(name, by)
	return Report{State: StateKept}, nil
}

// fromVersion reads an uploaded module.
func (d *Depot) fromVersion(name string, v Version) (candidate, error) {
	c := candidate{
		name: name, source: source(v.Number), version: v.Number, signature: []byte(v.Signature), params: v.Params, grants: v.Grants, fuel: v.Fuel,
	}
	wasm, err := d.Read(modulePath(d.Dir, v.Digest))
	if err != nil {
		err = fmt.Errorf("%w: version %d of policy %s: %w", ErrDisk, v.Number, name, err)
	} else if got := signing.Digest(wasm); got != v.Digest {
		err = fmt.Errorf("%w: version %d of policy %s is damaged: its SHA-256 is %.12s…, not %.12s…", ErrDisk, v.Number, name, got, v.Digest)
	}
	if err != nil {
		d.refuse(c, ActionLoad, "", err)
		return c, err
	}
	c.wasm = wasm
	return c, nil
}

// Versions lists what was uploaded for a policy, newest first.
func (d *Depot) Versions(name string) []Report {
	d.mu.RLock()
	defer d.mu.RUnlock()
	r := d.manifest.Policies[name]
	var all []Report
	for _, v := range slices.Backward(r.Versions) {
		all = append(all, Report{Version: v, State: r.state(v.Number)})
	}
	return all
}

// Names are the policies that serve or have versions, sorted.
func (d *Depot) Names() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := map[string]bool{}
	for name := range d.serving {
		all[name] = true
	}
	for name := range d.manifest.Policies {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func validName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= MaxName
}
