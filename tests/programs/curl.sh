#!/bin/sh
# curl -N, one process a call: `curl.sh MODEL...`; environment as in common.py, and CLIENT_CURL (the command to run,
# with what it trusts). CLIENT_API may also be `messages`. CLIENT_HTTP: `1.1` (default) or `2`, which curl would take by itself.
case "${CLIENT_API:-chat}" in
  responses) path=/v1/responses ;;
  messages) path=/v1/messages ;;
  *) path=/v1/chat/completions ;;
esac
if [ "${CLIENT_STREAM:-1}" = 1 ]; then stream=true; else stream=false; fi
if [ "${CLIENT_GO:-0}" = 1 ]; then
  echo "{\"ready\": true, \"pid\": $$}"
  read -r _
fi
for model in "$@"; do
  body="{\"model\": \"$model\", \"stream\": $stream, \"stream_options\": {\"include_usage\": true}, \"max_tokens\": 1024,
    \"input\": \"${CLIENT_PROMPT:-Tell me about rivers.}\",
    \"messages\": [{\"role\": \"user\", \"content\": \"${CLIENT_PROMPT:-Tell me about rivers.}\"}]}"
  # shellcheck disable=SC2086 # options are words
  ${CLIENT_CURL:-curl ${SSL_CERT_FILE:+--cacert $SSL_CERT_FILE}} -sSN --http${CLIENT_HTTP:-1.1} \
    -H 'content-type: application/json' -H "authorization: Bearer ${CLIENT_SECRET:-sk-test-not-a-secret}" \
    -d "$body" "$BASE_URL$path" >/dev/null &
  echo "{\"begin\": \"$model\", \"pid\": $!}"
  wait $!
  status=$?
  if [ $status = 0 ]; then error=null; else error="\"curl exit $status\""; fi
  echo "{\"end\": \"$model\", \"chars\": null, \"error\": $error, \"seconds\": null}"
done
