package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A use is that a file uses a name of another one.
type use struct{ from, to string }

// A graph is the files of a package, from top to bottom, and the uses, each with
// one of its names.
type graph struct {
	files []string
	uses  map[use]string
}

// up returns the uses that run up.
func (g graph) up() (all []string) {
	for i, from := range g.files {
		for _, to := range g.files[:i] {
			if name, ok := g.uses[use{from, to}]; ok {
				all = append(all, fmt.Sprintf("%s uses %s of %s", from, name, to))
			}
		}
	}
	return all
}

// tries is from how many orders the best one is looked for.
const tries = 60

// order returns the graph with its files in an order in which as few uses run up
// as a search finds: from random orders, each file is put where it costs least
// until that changes nothing. It is the same at each call.
func (g graph) order() graph {
	random := rand.New(rand.NewPCG(1, 2))
	best, fewest := g, len(g.uses)+1
	for range tries {
		now := graph{slices.Clone(g.files), g.uses}
		slices.Sort(now.files)
		random.Shuffle(len(now.files), func(i, j int) { now.files[i], now.files[j] = now.files[j], now.files[i] })
		for now.improve() {
		}
		if n := len(now.up()); n < fewest {
			best, fewest = now, n
		}
	}
	return best
}

// improve puts each file where it costs least, and reports whether that has
// changed how many uses run up.
func (g graph) improve() (better bool) {
	for _, file := range slices.Clone(g.files) {
		at := slices.Index(g.files, file)
		to, gain := g.place(file, at)
		if gain > 0 {
			better = true
		}
		rest := slices.Delete(g.files, at, at+1)
		copy(g.files, slices.Insert(rest, to, file))
	}
	return better
}

// place returns the place for a file, among the others, at which the fewest uses
// of it or by it run up, and how many fewer than where it is.
func (g graph) place(file string, at int) (to, gain int) {
	cost := 0 // on top, all that use it do so upwards
	for _, other := range g.files {
		cost += g.count(other, file)
	}
	lowest, present, place := cost, cost, 0
	for _, other := range g.files {
		if other == file {
			present = cost
			continue
		}
		cost += g.count(file, other) - g.count(other, file)
		if place++; cost < lowest {
			lowest, to = cost, place
		}
	}
	if lowest == present {
		return at, 0
	}
	return to, present - lowest
}

func (g graph) count(from, to string) int {
	if _, ok := g.uses[use{from, to}]; ok {
		return 1
	}
	return 0
}
