package evergrant_test

import (
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) evergrant.Store { return new(evergrant.Memory) })
}
