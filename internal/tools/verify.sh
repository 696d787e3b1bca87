#!/usr/bin/env bash
# Regenerates everything in a scratch copy of the work tree and fails when that changes
# anything: what is checked in must be what the tools write.
set -euo pipefail

root=$(git rev-parse --show-toplevel)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/spillway-verify.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# The work tree as it is, with what is not committed yet and without what is ignored.
cd "$root"
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do [[ -e $file ]] && printf '%s\0' "$file"; done |
  tar --create --null --files-from=- | tar --extract --directory="$scratch"
cd "$scratch"
git init --quiet .
git add --all
git -c user.name=verify -c user.email=verify@localhost commit --quiet --message=before

status=0
step() {
  local what=$1
  shift
  echo "verify: $what"
  if ! "$@" >"$scratch/.git/log" 2>&1; then
    cat "$scratch/.git/log"
    echo "verify: $what failed"
    status=1
    return
  fi
  git add --all
  if ! git diff --cached --quiet; then
    git --no-pager diff --cached --stat
    git --no-pager diff --cached | head -n 80
    echo "verify: $what changes the files above: run \"make generate tidy fmt\" and commit the result"
    git -c user.name=verify -c user.email=verify@localhost commit --quiet --message="$what"
    status=1
  fi
}

step "generated files" make --no-print-directory generate
step "modules" make --no-print-directory tidy
step "formatting" bash -c 'git ls-files -z "*.go" | xargs -0 gofmt -s -w'

exit $status
