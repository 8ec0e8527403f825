#!/bin/sh
# Ask a running evalpipe whether this release may ship: one signed webhook, and waiting until it is decided.
#
#   jq -s '{cases: ., release: "1.4.0"}' answered.jsonl | ./ask-gate.sh      cases that the new version answered
#   jq -n '{release: "1.4.0", expected: 200, wait_s: 300}' | ./ask-gate.sh   traces that it sent to the receiver
#
# Standard input is the question, one JSON object as in docs/gate-webhook.md; sent_at is added here.
# Environment: EVALPIPE_URL, such as https://evals.example.com, and EVALPIPE_GATE_KEY, one of the keys in the server's
# EVALPIPE_GATE_SECRETS. May be set: EVALPIPE_ANSWER, the file for the answer (gate.json); EVALPIPE_PATIENCE_S, how long
# a decision is waited for (1800); EVALPIPE_RETRIES, of a connection that fails (5); EVALPIPE_POLL_S (2).
# Exit: 0 it may ship, 1 it may not, 2 it was not decided. What goes wrong here is never 1.
# Needs curl, jq and openssl. The key stands in openssl's arguments for a moment: on a machine that strangers share,
# they may see it.
set -u
umask 077

fail() {
    printf 'ask-gate: %s\n' "$1" >&2
    exit 2
}

for tool in curl jq openssl mktemp; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is not installed"
done
server=${EVALPIPE_URL:-}
server=${server%/}
key=${EVALPIPE_GATE_KEY:-}
answer=${EVALPIPE_ANSWER:-gate.json}
patience_s=${EVALPIPE_PATIENCE_S:-1800}
case $server in
    http://* | https://*) ;;
    *) fail "EVALPIPE_URL is not set to http://... or https://..." ;;
esac
[ -n "$key" ] || fail "EVALPIPE_GATE_KEY is not set"
case $patience_s in
    *[!0-9]*) fail "EVALPIPE_PATIENCE_S is not a whole number of seconds" ;;
esac

folder=$(mktemp -d) || fail "no folder for temporary files"
trap 'rm -rf "$folder"' EXIT
trap 'exit 2' HUP INT TERM
said=$folder/said

# In jq, what was said on one line: words of strangers give no commands to a terminal or a CI system.
plain='def plain: tostring | gsub("[[:cntrl:]]"; " ") | gsub("::"; ": :") | gsub("##\\["; "# #[") | .[0:2000];'

# ask METHOD URL [CURL'S OPTIONS]: the body of the answer is in $said, its status in $status.
ask() {
    method=$1
    url=$2
    shift 2
    : >"$said" # an answer may have no body
    status=$(curl --silent --show-error --request "$method" --connect-timeout 20 --max-time 180 \
        --retry "${EVALPIPE_RETRIES:-5}" --retry-connrefused --retry-max-time 300 \
        --output "$said" --write-out '%{http_code}' "$@" -- "$url") ||
        fail "$server gives no answer. Is evalpipe serve running, and EVALPIPE_URL right?"
}

jq -c -s 'if length == 1 and (.[0] | type) == "object" then .[0] + {sent_at: (now | floor)} else error("not one object") end' \
    >"$folder/question" || fail "the question on standard input is not one JSON object"
signature=$(openssl dgst -sha256 -hmac "$key" <"$folder/question") || fail "the question could not be signed"
# The same key for every try of this request: however often it arrives, it is judged once.
id=$(openssl rand -hex 16) || fail "no random number for the Idempotency-Key"
ask POST "$server/gate?wait=1" \
    --header 'Content-Type: application/json' \
    --header "X-Hub-Signature-256: sha256=${signature##* }" \
    --header "Idempotency-Key: $id" \
    --data-binary "@$folder/question"

until_s=$(($(date +%s) + patience_s))
answered=$status
while [ "$answered" = 202 ]; do
    [ "$(date +%s)" -lt "$until_s" ] || fail "not decided within $patience_s s. Set EVALPIPE_PATIENCE_S"
    where=$(jq -r '.url // empty' "$said") || where=
    case $where in
        /gate/*) ;;
        *) fail "the answer does not say where the decision will be" ;;
    esac
    sleep "${EVALPIPE_POLL_S:-2}"
    ask GET "$server$where"
    case "$status $(jq -r '.status? // empty' "$said" 2>/dev/null)" in
        "200 queued" | "200 running") ;;
        *) answered=$status ;;
    esac
done

# The decision itself, or what GET /gate/ID says around it.
cp "$said" "$answer" 2>/dev/null || fail "$answer cannot be written. Set EVALPIPE_ANSWER"
words=$(jq -r "$plain"' .error? // empty | plain' "$said" 2>/dev/null)
if [ "$status" != 200 ] || [ -n "$words" ]; then
    fail "the gate did not decide (HTTP $status): ${words:-it does not say why}"
fi
jq -r "$plain"' if .decision | type == "object" then .decision else . end |
    "gate: \(.decision | plain)", ((.reasons // [])[] | "- \(plain)")' "$said" 2>/dev/null
code=$(jq -r '.exit_code' "$said" 2>/dev/null)
case $code in
    0 | 1 | 2) exit "$code" ;;
    *) fail "the answer of $server has no exit code. Is it evalpipe?" ;;
esac
