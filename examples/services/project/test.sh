#!/bin/sh
# Tests the slug that is installed below $PREFIX, and writes what came of it to report.json
PATH=$PREFIX/bin:$PATH
passed=0
failed=""

expect() {
  actual=$(slug "$1")
  if [ "$actual" = "$2" ]; then
    passed=$((passed + 1))
    echo "ok $1"
  else
    failed="$failed${failed:+, }\"$1\""
    echo "not ok $1: got $actual"
  fi
}

expect "Hello, World!" hello-world
expect "  spaces   and_signs " spaces-and-signs
expect "9 lives" 9-lives
expect "***" ""

echo "{ \"passed\": $passed, \"failed\": [$failed] }" > report.json
[ -z "$failed" ]
