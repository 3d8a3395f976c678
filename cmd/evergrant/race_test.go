//go:build race

package main

// raced: the race detector makes every process slow; what is bounded in time
// is not judged under it.
const raced = true
