package backtest

import (
	"container/heap"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/visutility/visutility"
	"github.com/visutility/visutility/policy"
	"github.com/visutility/visutility/trigger"
)

// haltTicks is after how many ticks a player asks whether to stop: each may look at thousands of models.
const haltTicks = 256

// An ending is what becomes of a run that is played.
type ending struct {
	state   visutility.RunState // Succeeded (promoted, that is), Rejected, Failed or Canceled
	after   time.Duration       // from the decision to the end of the run, or to the promotion
	version string              // "" for a name that no event has
	metrics map[string]float64  // what the challenger scored
	against map[string]float64  // what the champion scored on the same, where that is known
	scores  *Data               // what the version would have scored from then on; nil: not known
}

// A champion is the version that serves in the play.
type champion struct {
	version string
	metrics map[string]float64
	scores  *Data // what it would have scored since its promotion; nil: what the data says
}

// A playing run is one that was opened, until nothing more can happen to it.
type playing struct {
	visutility.Run
	ending
	replaced champion // that it replaced
}

// A player folds entries under a set of policies, and does what the rest of the house does in
// production: it tells the fold the time, and what became of the runs that it opened.
type player struct {
	fold *trigger.Fold
	set  *policy.Set
	// end says what becomes of the n-th run, from 0.
	end func(run *visutility.Run, n int) ending
	// settle may change what becomes of a run, at its end.
	settle func(r *playing)
	// What happened, in order. None may be nil.
	decided  func(d *visutility.Decision)
	opened   func(run *visutility.Run)
	moved    func(run string, to visutility.RunState, now int64)
	promoted func(model string, now int64)
	// halt is asked between ticks, now and then, whether to stop: advance then sets stopped and returns. Defaults to never.
	halt func() bool

	tick    int64 // ms between ticks, a second at least
	clocked bool  // whether time alone can change a verdict
	pos     visutility.Position
	now     int64 // of the last entry
	looked  int64 // the second of the last entry
	nudged  int64 // the last second after which a tick was asked for
	runs    int
	ticks   int
	stopped bool
	due     agenda
	// patience holds what a suppressed fire waits for, by model and policy: see nextTick.
	patience map[[2]string]string
	unless   int // fires that wait for a condition to cease
	stuck    int // fires that wait for anything but the end of a pause
	opens    instants
	turned   bool // ends advance: what comes next has changed
	champion map[string]champion
	watched  map[string]*playing // by run
	entry    visutility.Entry    // reused
}

func newPlayer(set *policy.Set, start int64, tick time.Duration) *player {
	return &player{
		fold: trigger.NewFold(set, nil), set: set, tick: max(tick.Milliseconds(), 1000), now: start,
		settle: func(*playing) {}, decided: func(*visutility.Decision) {}, opened: func(*visutility.Run) {},
		moved: func(string, visutility.RunState, int64) {}, promoted: func(string, int64) {}, halt: func() bool { return false },
		patience: make(map[[2]string]string), champion: make(map[string]champion), watched: make(map[string]*playing),
	}
}

// know tells the player of a model that may come, before the first entry.
func (p *player) know(model string) {
	if prog := p.set.For(model); prog != nil && prog.Clocked() {
		p.clocked = true
	}
}

// at asks for do to be called at a time, before the events of that time.
func (p *player) at(t int64, do func()) {
	p.due.last++
	heap.Push(&p.due, appointment{t, p.due.last, do})
}

// advance plays what happens before the events of time t: the appointments up to t, and the ticks before it. It
// stops after an appointment that sets turned.
func (p *player) advance(t int64) {
	for {
		tick, due := p.nextTick(), int64(math.MaxInt64)
		if len(p.due.all) > 0 {
			due = p.due.all[0].at
		}
		switch {
		case due <= t && due <= tick:
			a := heap.Pop(&p.due).(appointment)
			p.now = max(p.now, a.at)
			a.do()
			if p.turned {
				return
			}
		case tick < t:
			p.now = tick
			p.put()
			if p.ticks++; p.ticks%haltTicks == 0 && p.halt() {
				p.stopped = true
				return
			}
		default:
			p.now = max(p.now, t)
			return
		}
	}
}

// nextTick is the time of the next tick that can make a difference. In production
// they come all the time; those that change nothing are not played: without a condition on
// silence or age, a tick matters only when the guardrail of a suppressed fire opens.
func (p *player) nextTick() int64 {
	from := p.now + 1
	if !p.clocked && p.unless == 0 {
		// The fold looks at the clock once a second: only in a later one has it seen the guardrail open.
		for len(p.opens) > 0 && p.opens[0]/1000 < p.now/1000 {
			heap.Pop(&p.opens)
		}
		if len(p.opens) == 0 {
			return math.MaxInt64
		}
		from = max(from, p.opens[0])
	}
	return (from + p.tick - 1) / p.tick * p.tick
}

// put folds an entry with what is in p.entry, at the present time, and empties it.
func (p *player) put(controls ...visutility.Control) {
	if p.stuck > 0 && p.looked == p.now/1000 && p.nudged != p.looked {
		// The fold looks at the clock once a second, so what this entry opens it sees at the next tick.
		p.nudged = p.looked
		heap.Push(&p.opens, (p.looked+1)*1000)
	}
	p.looked = p.now / 1000
	p.pos++
	p.entry.Position, p.entry.Stored, p.entry.Controls = p.pos, p.now, controls
	decisions, runs := p.fold.Entry(&p.entry)
	p.entry.Series, p.entry.Records = p.entry.Series[:0], p.entry.Records[:0]
	for i := range runs {
		p.open(&runs[i])
	}
	for i := range decisions {
		p.heed(&decisions[i])
	}
}

// heed takes note of a decision.
func (p *player) heed(d *visutility.Decision) {
	p.decided(d)
	if d.Outcome == visutility.RollbackOrdered {
		p.at(p.now, func() { p.rollBack(d.Run) })
		return
	}
	if d.Request != "" {
		return // asked for by hand: it does not wait
	}
	p.wait([2]string{d.Model, d.Policy}, d.SuppressedBy)
	if d.Outcome == visutility.Suppressed && !d.Until.IsZero() {
		heap.Push(&p.opens, d.Until.UnixMilli())
	}
}

// wait notes what a suppressed fire waits for, "" for nothing.
func (p *player) wait(key [2]string, guard string) {
	count := func(guard string, n int) {
		switch guard {
		case "", visutility.ByPause:
		case visutility.ByUnless:
			p.unless += n
			fallthrough
		default:
			p.stuck += n
		}
	}
	count(p.patience[key], -1)
	count(guard, 1)
	if guard == "" {
		delete(p.patience, key)
	} else {
		p.patience[key] = guard
	}
}

// open plays a run that the fold opened.
func (p *player) open(run *visutility.Run) {
	e := p.end(run, p.runs)
	p.runs++
	if e.version == "" {
		e.version = "played-" + strconv.Itoa(p.runs)
	}
	r := &playing{Run: *run, ending: e}
	p.opened(run)
	p.at(p.now+e.after.Milliseconds(), func() { p.finish(r) })
}

// finish ends a run, as its ending says.
func (p *player) finish(r *playing) {
	p.settle(r)
	if r.state != visutility.Succeeded {
		p.moved(r.ID, r.state, p.now)
		p.put(p.ended(r, r.state))
		return
	}
	r.replaced = p.champion[r.Model]
	p.champion[r.Model] = champion{r.version, r.metrics, r.scores}
	previous := make(map[string]float64)
	maps.Copy(previous, r.replaced.metrics)
	maps.Copy(previous, r.against)
	controls := []visutility.Control{{
		Kind: visutility.ControlPromoted, Model: r.Model, Policy: r.Policy, Run: r.ID,
		Version: r.version, Previous: r.replaced.version, PreviousMetrics: previous,
	}}
	state := visutility.Succeeded
	if pol, ok := p.set.Policy(r.Policy); ok && pol.Rollback != nil && r.replaced.version != "" {
		state, controls[0].Watch = visutility.Watching, true
		p.at(p.now+pol.Rollback.Within.Milliseconds(), func() { p.release(r) })
	}
	controls = append(controls, p.ended(r, state))
	// A champion that is replaced is watched no longer: its run was a success.
	var over []*playing
	for _, w := range p.watched {
		if w.Model == r.Model {
			over = append(over, w)
		}
	}
	slices.SortFunc(over, func(a, b *playing) int { return a.CreatedAt.Compare(b.CreatedAt) })
	for _, w := range over {
		delete(p.watched, w.ID)
		p.moved(w.ID, visutility.Succeeded, p.now)
		controls = append(controls, p.ended(w, visutility.Succeeded))
	}
	if state == visutility.Watching {
		p.watched[r.ID] = r
	}
	p.moved(r.ID, state, p.now)
	p.promotion(r.Model, controls)
}

// promotion tells the fold of a new champion, forward or back.
func (p *player) promotion(model string, controls []visutility.Control) {
	if prog := p.set.For(model); prog != nil {
		for _, pol := range prog.Policies() { // verdicts start afresh
			p.wait([2]string{model, pol.Name}, "")
		}
	}
	p.promoted(model, p.now)
	p.put(controls...)
}

// release ends the watch over a run that did well.
func (p *player) release(r *playing) {
	if p.watched[r.ID] == r {
		delete(p.watched, r.ID)
		p.moved(r.ID, visutility.Succeeded, p.now)
		p.put(p.ended(r, visutility.Succeeded))
	}
}

// rollBack takes back the version of a watched run.
func (p *player) rollBack(run string) {
	r := p.watched[run]
	if r == nil {
		return
	}
	delete(p.watched, run)
	p.champion[r.Model] = r.replaced
	p.moved(r.ID, visutility.RolledBack, p.now)
	p.promotion(r.Model, []visutility.Control{{
		Kind: visutility.ControlPromoted, Model: r.Model, Policy: r.Policy, Run: r.ID,
		Version: r.replaced.version, Previous: r.version, PreviousMetrics: r.metrics,
	}, p.ended(r, visutility.RolledBack)})
}

func (p *player) ended(r *playing, state visutility.RunState) visutility.Control {
	return visutility.Control{
		Kind: visutility.ControlEnded, Model: r.Model, Policy: r.Policy, Run: r.ID, State: state, Version: r.version,
	}
}

// An agenda is a heap of appointments, by time, then by when they were made.
type agenda struct {
	all  []appointment
	last int
}

type appointment struct {
	at    int64
	order int
	do    func()
}

func (a *agenda) Len() int      { return len(a.all) }
func (a *agenda) Swap(i, j int) { a.all[i], a.all[j] = a.all[j], a.all[i] }
func (a *agenda) Less(i, j int) bool {
	x, y := a.all[i], a.all[j]
	return x.at < y.at || x.at == y.at && x.order < y.order
}
func (a *agenda) Push(x any) { a.all = append(a.all, x.(appointment)) }
func (a *agenda) Pop() any {
	last := a.all[len(a.all)-1]
	a.all = a.all[:len(a.all)-1]
	return last
}

// instants is a heap of times.
type instants []int64

func (h instants) Len() int           { return len(h) }
func (h instants) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h instants) Less(i, j int) bool { return h[i] < h[j] }
func (h *instants) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *instants) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
