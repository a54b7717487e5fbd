package calibrate

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// each calls do for 0 to n-1 from as many goroutines as there are processors, each with its own
// memory, and waits for them. What do does must not depend on which goroutine does it.
func (c *calibration) each(ctx context.Context, n int, do func(s *scratch, i int)) error {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		all.Go(func() {
			s := new(scratch)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				do(s, i)
				c.progress.step()
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// A progress tells how far the work has come.
type progress struct {
	mu        sync.Mutex
	done, all int
	tell      func(done, all int)
}

func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.tell(p.done, p.all)
}
