package agent

import (
	"context"
	"sync"
)

// Budget bounds the bytes that are read and not yet resolved, over all tasks.
//
// Half of it is divided evenly into shares that nobody else can take; the other half
// is lent to whoever asks first. A task that cannot deliver fills its share
// and what was lent to it, and never another task's share.
//
// It may be used from several goroutines.
type Budget struct {
	mu       sync.Mutex
	total    int
	share    int
	lendable int
	lent     int // sum of what accounts hold above their share
	accounts map[*Account]struct{}
	waiting  map[*Account]struct{}
}

// NewBudget makes a budget of total bytes.
func NewBudget(total int) *Budget {
	return &Budget{total: total, accounts: map[*Account]struct{}{}, waiting: map[*Account]struct{}{}}
}

// Account is one task's part of a Budget. It implements tail.Budget and may be
// used from several goroutines.
type Account struct {
	b       *Budget
	used    int
	waiters []*budgetWaiter
	closed  bool
}

type budgetWaiter struct {
	n       int
	granted chan struct{}
}

// Open makes an account; the shares of all accounts shrink.
func (b *Budget) Open() *Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &Account{b: b}
	b.accounts[a] = struct{}{}
	b.divideLocked()
	return a
}

// Close gives back all that the account holds. Later calls on it do nothing.
func (a *Account) Close() {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	a.closed = true
	delete(a.b.accounts, a)
	delete(a.b.waiting, a)
	a.b.divideLocked()
	a.b.grantLocked()
}

func (b *Budget) divideLocked() {
	b.share, b.lendable, b.lent = 0, 0, 0
	if n := len(b.accounts); n > 0 {
		b.share = b.total / 2 / n
		b.lendable = b.total - b.share*n
	}
	for a := range b.accounts {
		b.lent += b.over(a.used)
	}
}

func (b *Budget) over(used int) int { return max(used-b.share, 0) }

// fits reports whether a may hold n bytes more. A batch larger than
// everything is let through alone: it would wait for ever otherwise.
func (b *Budget) fits(a *Account, n int) bool {
	return a.used == 0 || b.lent-b.over(a.used)+b.over(a.used+n) <= b.lendable || a.used+n <= b.share
}

func (b *Budget) addLocked(a *Account, n int) {
	if a.closed {
		return
	}
	b.lent -= b.over(a.used)
	a.used += n
	b.lent += b.over(a.used)
}

func (b *Budget) grantLocked() {
	for a := range b.waiting {
		for len(a.waiters) > 0 && b.fits(a, a.waiters[0].n) {
			w := a.waiters[0]
			a.waiters = a.waiters[1:]
			b.addLocked(a, w.n)
			close(w.granted)
		}
		if len(a.waiters) == 0 {
			delete(b.waiting, a)
		}
	}
}

// Acquire implements tail.Budget.
func (a *Account) Acquire(ctx context.Context, n int) error {
	b := a.b
	b.mu.Lock()
	if len(a.waiters) == 0 && b.fits(a, n) {
		b.addLocked(a, n)
		b.mu.Unlock()
		return nil
	}
	w := &budgetWaiter{n: n, granted: make(chan struct{})}
	a.waiters = append(a.waiters, w)
	b.waiting[a] = struct{}{}
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		a.abandon(w)
		return ctx.Err()
	}
}

// TryAcquire is Acquire, or false where that would wait.
func (a *Account) TryAcquire(n int) bool {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if len(a.waiters) > 0 || !a.b.fits(a, n) {
		return false
	}
	a.b.addLocked(a, n)
	return true
}

// abandon takes back a request, or what was granted to it meanwhile.
func (a *Account) abandon(w *budgetWaiter) {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	for i, o := range a.waiters {
		if o == w {
			a.waiters = append(a.waiters[:i], a.waiters[i+1:]...)
			a.b.grantLocked()
			return
		}
	}
	a.b.addLocked(a, -w.n)
	a.b.grantLocked()
}

// Charge implements tail.Budget.
func (a *Account) Charge(n int) {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	a.b.addLocked(a, n)
}

// Release implements tail.Budget.
func (a *Account) Release(n int) {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	a.b.addLocked(a, -n)
	a.b.grantLocked()
}

// Used is what the account holds, in bytes.
func (a *Account) Used() int {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	return a.used
}
