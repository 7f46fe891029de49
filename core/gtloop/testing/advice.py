"""What to do about a failed check, one sentence for each; printed below the failure."""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    # every kind
    "check_class_is_complete": "Derive from the base class of the kind, give name and "
    "summary, and write every abstract method.",
    "check_name_is_slug": "Choose a name of a-z, 0-9 and single hyphens: people type "
    "it, and it is a table in gtloop.toml.",
    "check_summary_is_short": "Cut the summary to one line; what does not fit belongs into the docstring.",
    "check_api_is_current": "Read CHANGELOG.md for what changed in gtloop.interfaces, adapt the plugin, then set api.",
    "check_options_are_described": "Derive Options from gtloop.interfaces.Options and write "
    "Field(default, description=...) for each field.",
    "check_import_is_light": "Move the import into the functions that use it: every gtloop"
    " command imports this module.",
    "check_can_be_built": "Make __init__(options, context) work with the default options; "
    "what is heavy or may fail belongs into the methods.",
    # task
    "check_form_mentions_every_category": "Build the form from context.categories, name the task and say what to do.",
    "check_parse_is_stable": "Let parse return the canonical label: parsing that again changes nothing.",
    "check_parse_refuses_nonsense": "Validate the payload (a pydantic model with extra='forbid' "
    "does) and raise BadAnswer.",
    "check_error_is_a_distance": "Make error(a, b) the same as error(b, a), 0 for equal labels, and at most 1.",
    "check_evaluate_is_perfect_for_equal": "Let evaluate return 'mean': the mean of 1 - error over the pairs.",
    "check_unanimous_answers_consolidate": "Where all answers are equal, return that label with agreement 1.",
    "check_order_of_answers_is_irrelevant": "Sort the answers (by time, then id) before anything depends "
    "on their order.",
    "check_no_support_gives_no_label": "Return payload None where no answer supports a label; never guess.",
    "check_sure_is_a_share": "Return 1 less the quality that more answers are expected to add, or leave sure out.",
    "check_simulated_answers_parse": "Let simulate return what parse takes, and worker plain JSON.",
    "check_simulation_is_keyed": "Draw from the generator that simulate is given, and copy the"
    " truth before changing it.",
    "check_simulated_answers_resemble_truth": "Start from the truth that simulate is given and add the "
    "worker's errors.",
    "check_noise_free_workers_copy_the_truth": "Multiply every error of a worker by its 'noise'.",
    "check_features_match_their_names": "Return one number for each of feature_names, in that order.",
    "check_raw_and_label_agree": "Make raw and label inverse: same order of categories, same coordinates.",
    "check_reframe_there_and_back": "Undo for to='display' what to='stored' does (item.orientation is EXIF's).",
    "check_empty_is_empty": "Let count(empty()) be 0, and parse, raw and label keep the empty label.",
    # annotator
    "check_collect_never_blocks": "Return what is there within limit_s, even if that is nothing; gtloop calls again.",
    "check_every_answer_arrives": "Ask as many different workers as the request says, then close it with that count.",
    "check_submit_twice_is_once": "Remember the request ids in workdir (or give them to the service "
    "as unique token) and skip those that are posted.",
    "check_more_answers_extend": "Where answers is higher than last time, ask that many more "
    "people, others than before.",
    "check_answers_are_added_one_by_one": "Let a request that is closed open again each time it wants more answers.",
    "check_survives_a_new_object": "Keep the state in context.workdir or with the service, never in the object.",
    "check_old_cursor_brings_the_same": "Delete nothing when collect returns it: a run that was killed asks"
    " again with the cursor that it last saved.",
    "check_answers_are_well_formed": "Check answers with context.task.parse, and write times as ISO 8601 in UTC.",
    "check_excluded_workers_do_not_answer": "Leave out the workers in request.exclude_workers.",
    "check_cancel_closes": "Let collect return Closed(..., reason='cancelled') for what was cancelled.",
    "check_settle_is_harmless": "Let settle take an empty list, and where return one line.",
    # detector
    "check_fits_and_predicts": "Mend what raised: fit, load, prepare and predict_batch are called as gtloop "
    "calls them, on ten images of 96 x 64 pixels.",
    "check_order_and_count_are_kept": "Return one prediction for each input, in the order of the "
    "inputs; undo any sorting.",
    "check_scores_are_in_range": "Return plain lists in the task's raw shape: probabilities (after "
    "sigmoid or softmax, not percent), best first.",
    "check_labels_fit_the_image": "Return boxes as x1, y1, x2, y2 in pixels of the image, clipped to "
    "it (gtloop.labels.clip_box), and indices into context.categories.",
    "check_same_seed_same_result": "Draw everything random in fit from seed.",
    "check_batch_does_not_matter": "Predict each image by itself: no statistics over the batch "
    "(model.eval() in torch).",
    "check_only_the_image_counts": "Predict from the pixels only; an item's id, name and row "
    "tell whether it was trained on.",
    "check_model_reloads_from_its_folder": "Let fit write all that predicting needs to workdir, and load"
    " read it from there.",
    "check_model_folder_can_be_moved": "Store paths relative to workdir, and keep every file of the model in it.",
    "check_no_examples_is_not_enough": "Raise gtloop.errors.NotEnoughData where examples are too few.",
    "check_fit_reports": "Call progress('fit', done, total), return finite numbers, and write the model to workdir.",
    "check_prepared_is_picklable": "Return arrays, numbers, tuples or dicts from prepare; no functions, no open files.",
    "check_embeddings_are_vectors": "Return (n, d) float32, a row for each prepared image, in eval mode.",
    "check_images_of_any_size": "Resize or pad before stacking, and scale the boxes back by each image's own size.",
    # sampler
    "check_picks_distinct_rows_of_the_view": "Pick from view.rows without replacement "
    "(view.rows[order[:n]]), and give one sentence as reason.",
    "check_large_n_takes_the_whole_pool": "Return every row of the view where n is not smaller than their number.",
    "check_seed_decides": "Draw from the generator that select is given; never from np.random, random or the clock.",
    "check_ties_are_broken_at_random": "Permute the rows with the given generator, then sort stably.",
    "check_input_is_not_changed": "Copy before sorting or writing: np.sort(x), not x.sort().",
    "check_reads_only_what_it_needs": "Add the column to needs, or do without it.",
    # score
    "check_score_is_in_range": "Clip to [0, 1] and return one value for each row.",
    "check_score_is_pure": "Compute each row from its own columns; no ranks, means or maxima over the rows.",
    "check_score_needs_are_declared": "Add the column to needs, or do without it.",
    "check_sure_beats_unsure": "Let the score rise (or stay) as the confidences rise.",
    "check_score_learns": "Return numbers and lists from fit, no arrays; nothing random; clip what fitted returns.",
    # format
    "check_writes_and_reads": "Mend what raised: write and read are called as gtloop calls them, on ten rows.",
    "check_reader_reads_what_writer_wrote": "Write and read the same coordinates: absolute pixels, x2 and"
    " y2 exclusive.",
    "check_counts_in_are_counts_out": "Write and read every object of every labelled image.",
    "check_empty_images_are_kept": "Write an entry without objects for an image that holds "
    "nothing, and read it as such.",
    "check_unlabelled_rows_never_become_labels": "Leave the row out with a warning, or write and read it as "
    "payload None.",
    "check_sniff_knows_its_own": "Look at the file's suffix and first bytes for what only this format has.",
    "check_writing_nothing_works": "Write a valid file without entries where there are no rows.",
    # executor
    "check_predictions_come_in_order": "Yield one Predicted for each item, in the order of items, "
    "whatever finishes first.",
    "check_a_bad_image_is_a_fault_not_the_end": "Catch BadImage for each item and yield Predicted(item, None, reason).",
    "check_unknown_sizes_are_filled_in": "Read the image's header and put width, height and orientation into the item.",
    "check_predicting_streams": "Take the items in batches; never list(items).",
    "check_a_broken_detector_is_named": "Raise PluginFault with detector.name where it raises or "
    "returns another count.",
    "check_no_items_no_predictions": "Yield nothing where there are no items.",
    "check_fit_reaches_the_detector": "Pass examples, workdir, seed, init, effort and progress on to detector.fit.",
    # observer
    "check_constructing_starts_nothing": "Let __init__ keep the options only; start threads and write files with the "
    "first event that needs them.",
    "check_takes_every_event": "Look at the events that you know and return for all others; context.workdir may have "
    "to be made.",
    "check_observing_is_quick": "Hand slow work, such as the network, to a thread through a bounded queue.",
    "check_event_and_state_are_not_changed": "Only read event and state; copy what you keep.",
    "check_goes_on_in_another_process": "Let an object take up what another left in context.workdir, finished or not.",
    "check_close_is_bounded": "Wait for what is under way with a limit (join(timeout)), and let close be called again.",
}
"""Name of a check to what a plugin's author does where it fails."""
