// Package grown tests five versions of one message against one another.
package grown
