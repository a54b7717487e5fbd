package drift_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/visutility/visutility/drift"
)

// raw are the parameters with which a detector takes 0/1 errors best.
var raw = map[string]map[string]float64{"adwin": {"baseline": 0}}

// errorsWith are n errors of probability p.
func errorsWith(r *rand.Rand, p float64, n int) []float64 {
	stream := make([]float64, n)
	for i := range stream {
		if r.Float64() < p {
			stream[i] = 1
		}
	}
	return stream
}

// BenchmarkAdd is the time of an event with each detector: errors of probability 0.1.
func BenchmarkAdd(b *testing.B) {
	stream := errorsWith(rand.New(rand.NewPCG(1, 1)), 0.1, 1<<16)
	for _, name := range slices.Sorted(maps.Keys(drift.Detectors)) {
		b.Run(name, func(b *testing.B) {
			d, err := drift.New(name, drift.Up, raw[name])
			if err != nil {
				b.Fatal(err)
			}
			state := make([]uint64, d.Words())
			d.Init(state)
			b.ReportAllocs()
			b.ReportMetric(float64(8*d.Words()), "bytes")
			i := 0
			for b.Loop() {
				d.Add(state, stream[i&(1<<16-1)])
				i++
			}
		})
	}
}

// BenchmarkDetection is what the detectors are worth, on errors of probability 0.1 and
// 0.01: false alarms in 100,000 events, and from 20,000 events on the median delay in
// noticing twice as many, and the percentage of streams in which 5,000 events were not enough.
func BenchmarkDetection(b *testing.B) {
	const warm, late, streams = 20_000, 5_000, 101
	for _, rate := range []float64{0.1, 0.01} {
		for _, name := range slices.Sorted(maps.Keys(drift.Detectors)) {
			d, err := drift.New(name, drift.Up, raw[name])
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprint(rate, "/", name), func(b *testing.B) { detection(b, d, rate, warm, late, streams) })
		}
		b.Run(fmt.Sprint(rate, "/edetector,baseline=5000"), func(b *testing.B) {
			detection(b, drift.EDetector{Baseline: 5000}, rate, warm, late, streams)
		})
	}
}

func detection(b *testing.B, d drift.Detector, rate float64, warm, late, streams int) {
	state := make([]uint64, d.Words())
	var alarms, events, missed, delay float64
	for b.Loop() {
		alarms, events, missed = 0, 0, 0
		var delays []float64
		r := rand.New(rand.NewPCG(1, 2))
		for range streams {
			d.Init(state)
			for _, x := range errorsWith(r, rate, warm) {
				events++
				if d.Add(state, x) {
					alarms++
				}
			}
			at := slices.IndexFunc(errorsWith(r, 2*rate, late), func(x float64) bool { return d.Add(state, x) })
			if at < 0 {
				missed++
				at = late
			}
			delays = append(delays, float64(at+1))
		}
		slices.Sort(delays)
		delay = delays[streams/2]
	}
	b.ReportMetric(alarms/events*1e5, "false/100k")
	b.ReportMetric(delay, "delay")
	b.ReportMetric(100*missed/float64(streams), "%missed")
}
