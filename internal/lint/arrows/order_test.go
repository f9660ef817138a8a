package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrder(t *testing.T) {
	uses := map[use]string{}
	for _, u := range []use{{"a", "b"}, {"b", "c"}, {"a", "c"}, {"c", "d"}, {"e", "a"}, {"d", "b"}} {
		uses[u] = "X"
	}
	for range 20 {
		o := graph{[]string{"d", "c", "b", "a", "e"}, uses}.order()
		require.Len(t, o.up(), 1, "b, c and d are a circle")
		require.Equal(t, []string{"e", "a"}, o.files[:2])
	}
	require.Equal(t, []string{"b uses X of a"}, graph{[]string{"a", "b"}, map[use]string{{"b", "a"}: "X"}}.up())
	require.Empty(t, graph{[]string{"a", "b"}, map[use]string{{"b", "a"}: "X"}}.order().up())
}
