// Records as the dispatch backend writes them.

/** The topic that carries an event, and what its data names besides. */
export const EVENTS = {
  transmission_started: "transmission",
  transmission_completed: "transmission",
  transcription_completed: "transmission",
  transmission_tagged: "transmission",
  incident_created: "incident",
  incident_updated: "incident",
  incident_status_changed: "incident",
  task_assigned: "task",
  task_completed: "task",
  task_updated: "task",
  asset_position_updated: "asset",
  asset_status_changed: "asset",
  alert_created: "alert",
  alert_acknowledged: "alert",
};

/** The enveloped form: `record("incident_created", { incident_id: "5" })`. */
export function record(event, data, organisation = "o1") {
  return {
    event_type: event,
    organization_id: organisation,
    timestamp: new Date().toISOString(),
    data,
  };
}

/** A record for everybody of the organisation, with a number to tell it by. */
export function toAll(n, organisation = "o1") {
  return record("incident_created", { incident_id: "all", n }, organisation);
}

/** A record for one channel's room. */
export function toChannel(channel, n, organisation = "o1") {
  return record("transmission_started", { channel_id: channel, n }, organisation);
}
