//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// contender is one of those that are compared.
type contender struct {
	name string
	argv []string
}

// rounds are the costs of each contender, index by index of the same round.
type rounds map[string][]cost

// compare runs the contenders in turns. The order rotates: whoever comes after a
// heavy program finds cold caches.
func (l *launcher) compare(n int, cs []contender) (rounds, error) {
	r := rounds{}
	for i := range n + warmups {
		for k := range cs {
			c := cs[(i+k)%len(cs)]
			got, err := l.run(c.argv...)
			if err != nil {
				return nil, err
			}
			if i >= warmups {
				r[c.name] = append(r[c.name], got)
			}
		}
	}
	return r, nil
}

// warmups are rounds that are not counted.
const warmups = 3

func (r rounds) walls(name string) []time.Duration {
	return each(r[name], func(c cost) time.Duration { return c.Wall })
}

func (r rounds) cpus(name string) []time.Duration {
	return each(r[name], func(c cost) time.Duration { return c.CPU })
}

// times are the medians of wall time, processor time and page faults. On a busy
// machine a wall time holds the waiting for a processor too; the others do not.
func (r rounds) times(name string) string {
	faults := median(each(r[name], func(c cost) int64 { return c.Faults }))
	return fmt.Sprintf("%s (cpu %.1f, %d faults)", ms(median(r.walls(name))), float64(median(r.cpus(name)))/1e6, faults)
}

// peak is in MiB, the median over the rounds.
func (r rounds) peak(name string) float64 {
	return float64(median(each(r[name], func(c cost) int64 { return c.Peak }))) / 1024
}

func (r rounds) ratio(ours, peer string) ratio {
	q := paired(r.walls(ours), r.walls(peer))
	q.cpu = paired(r.cpus(ours), r.cpus(peer)).mid
	return q
}

// ratio is a paired ratio of wall times: the median over the rounds, and where
// the middle eighty per cent lie.
type ratio struct {
	mid, low, high float64
	cpu            float64 // the median of processor times; 0: not measured
}

func (r ratio) String() string {
	text := fmt.Sprintf("%.2f (%.2f–%.2f)", r.mid, r.low, r.high)
	if r.cpu > 0 {
		text += fmt.Sprintf(", cpu %.2f", r.cpu)
	}
	return text
}

// paired divides round by round.
func paired[T time.Duration | float64](ours, peer []T) ratio {
	var q []float64
	for i := range ours {
		q = append(q, float64(ours[i])/float64(peer[i]))
	}
	slices.Sort(q)
	return ratio{mid: quantile(q, 0.5), low: quantile(q, 0.1), high: quantile(q, 0.9)}
}

// quantile is of a sorted slice.
func quantile[T any](sorted []T, q float64) T {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median[T cmp.Ordered](s []T) T { return quantile(slices.Sorted(slices.Values(s)), 0.5) }

func each[A, B any](in []A, f func(A) B) []B {
	var out []B
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }
